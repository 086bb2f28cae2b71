"""Steps whose losses or gradients are not finite: noticed, named, and left out if asked for."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from mtl.training.keras_internals.optimizer_internals import iterations_of
from mtl.training.task_variables import TaskVariables

__all__ = ["NonFiniteGuard"]


class NonFiniteGuard:
    """Watches the losses and gradients of each step, in the graph; the replicas see the same.

    Args:
        optimizer: a built optimizer.
        variables: those that are trained.
        own: tasks -> the variables that only they use.
        tasks: the names of all tasks.
        skip: whether a step that is not finite is left out, and else ends the training.
        accumulates: whether gradients of several batches make an update.
        compiled: whether XLA compiles the step.
    """

    def __init__(
        self,
        optimizer: keras.optimizers.Optimizer,
        variables: Sequence[keras.Variable],
        own: Mapping[Sequence[str], Sequence[keras.Variable]],
        tasks: Sequence[str],
        skip: bool,
        accumulates: bool,
        compiled: bool,
    ):
        self._optimizer, self._tasks, self.skip = optimizer, tuple(tasks), skip
        owners = {
            id(variable): list(tasks).index(users[0]) for users, mine in own.items() if len(users) == 1 for variable in mine
        }
        self._owners = [owners.get(id(variable), len(self._tasks)) for variable in variables]
        self._step = keras.Variable(0, dtype="int64", trainable=False, name="faulty_step")  # The first; how many:
        self._count = keras.Variable(0, dtype="int64", trainable=False, name="faulty_steps")
        self._faults = keras.Variable(tf.zeros(len(self._tasks) + 1), trainable=False, name="faults")
        # A batch that is left out of an accumulated gradient is zeros in it; alone, it must not even move the momentum.
        self._all = TaskVariables(optimizer, variables, compiled) if skip and not accumulates else None

    def look(self, losses: tf.Tensor, gradients: Sequence[Any]) -> tf.Tensor:
        """Remembers what is not finite in a step; whether all is.

        Args:
            losses: each task's, over all replicas, `[K]`.
            gradients: of the variables, over all replicas; None where there is none.
        """
        count = len(self._tasks)
        finite = {i: tf.reduce_all(tf.math.is_finite(g)) for i, g in enumerate(gradients) if g is not None}
        faulty_losses, looked = ~tf.math.is_finite(losses), tf.constant(True)
        if isinstance(self._optimizer, keras.optimizers.LossScaleOptimizer):
            # It looks at the gradients itself, leaves out what overflowed, and is lowered, until that is no help any more.
            overflowed = ~tf.reduce_all(list(finite.values()))
            looked = tf.convert_to_tensor(self._optimizer.dynamic_scale) <= 1.0
            faulty_losses &= tf.math.is_nan(losses) | ~overflowed
        faults = [*tf.unstack(faulty_losses, count), tf.constant(False)]
        lost = tf.reduce_any(faulty_losses)
        for i, fine in finite.items():  # Where a loss is at fault, gradients of other tasks may be so by the balancer alone.
            faults[self._owners[i]] |= looked & ~lost & ~fine
        faulty = tf.stack(faults)
        bad = tf.reduce_any(faulty)
        step = tf.cast(tf.convert_to_tensor(iterations_of(self._optimizer)), "int64") + 1
        first = bad & tf.equal(self._count.value, 0)
        told = first | (bad & self.skip)  # What ends the training is told of its first step.
        self._faults.assign(tf.where(told, tf.maximum(tf.cast(faulty, tf.float32), self._faults.value), self._faults.value))
        self._step.assign(tf.where(first, step, self._step.value))
        self._count.assign_add(tf.cast(bad, tf.int64))
        return ~bad

    def keep(self, finite: tf.Tensor) -> list[tuple[TaskVariables, list[tf.Tensor]]]:
        """What a step that is left out must not move, and its values."""
        return [] if self._all is None else [(self._all, self._all.read(finite))]

    def check(self) -> None:
        """Tells of steps that were not finite since the last call.

        Raises:
            FloatingPointError: one was not, and such steps are not left out.
        """
        count = int(tf.convert_to_tensor(self._count.value))
        if not count:
            return
        step, faults = int(tf.convert_to_tensor(self._step.value)), tf.convert_to_tensor(self._faults.value).numpy()
        self._count.assign(0)
        self._faults.assign(tf.zeros_like(self._faults.value))
        tasks = ", ".join(f"'{task}'" for task, fault in zip(self._tasks, faults[:-1], strict=True) if fault)
        what = f"The loss or gradient of {tasks} was" if tasks else "The gradient of what the tasks share was"
        if self.skip:
            left = "which was left out" if count == 1 else f"and at {count - 1} of those after it, which were left out"
            warnings.warn(f"{what} not finite at step {step}, {left}.", stacklevel=2)
            return
        raise FloatingPointError(
            f"{what} not finite at step {step}. Lower the learning rate, clip the gradients, look at the data, "
            "or leave such steps out with compile(..., skip_nonfinite=True). Checkpoints before this step stay."
        )
