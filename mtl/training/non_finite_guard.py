"""Detection of steps whose losses, gradients or updates are not finite."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from mtl.training.keras_internals.optimizer_internals import iterations_of
from mtl.training.task_variables import TaskVariables

__all__ = ["NonFiniteGuard"]


class NonFiniteGuard:
    """Checks of each step's losses, gradients and updated weights, in the graph; the result is the same on every replica.

    A step whose losses or gradients are not finite ends the training before any weight changes; one whose update makes weights
    that are not finite ends it after the update. With `skip`, both are skipped.

    Args:
        optimizer: a built optimizer.
        variables: the trained variables.
        task_variables: tasks -> the variables that only they use.
        tasks: the names of all tasks.
        skip: whether a step that is not finite is skipped instead of ending the training.
        compiled: whether XLA compiles the step, which then ends only after its update.
    """

    def __init__(
        self,
        optimizer: keras.optimizers.Optimizer,
        variables: Sequence[keras.Variable],
        task_variables: Mapping[tuple[str, ...], Sequence[keras.Variable]],
        tasks: Sequence[str],
        skip: bool,
        compiled: bool,
    ):
        self._optimizer, self._tasks, self._variables = optimizer, tuple(tasks), list(variables)
        self.skip, self._compiled = skip, compiled
        of_one = {users[0]: owned for users, owned in task_variables.items() if len(users) == 1}
        owners = {id(variable): list(tasks).index(task) for task, owned in of_one.items() for variable in owned}
        self._owners = [owners.get(id(variable), len(self._tasks)) for variable in variables]
        self._step = keras.Variable(0, dtype="int64", trainable=False, name="faulty_step")  # The first one.
        self._count = keras.Variable(0, dtype="int64", trainable=False, name="faulty_steps")
        #: Losses or gradients of each task; gradients of what they share; weights of each task's rows; an update.
        self._faults = keras.Variable(tf.zeros(2 * len(self._tasks) + 2), trainable=False, name="faults")
        self._all = TaskVariables(optimizer, variables, compiled) if skip else None

    def look(
        self, losses: tf.Tensor, weights: tf.Tensor, gradients: Sequence[Any], owners: Sequence[int] | None = None
    ) -> tf.Tensor:
        """Record which values of a step are not finite, and return whether all are.

        Args:
            losses: losses of the tasks, over all replicas, `[K]`.
            weights: sums of the tasks' weights, over all replicas, `[K]`.
            gradients: gradients of the variables, over all replicas; None for a variable without one.
            owners: index of the task of each gradient, K for several tasks; by default that of its variable.
        """
        count, owners = len(self._tasks), self._owners if owners is None else owners
        finite = {i: tf.reduce_all(tf.math.is_finite(g)) for i, g in enumerate(gradients) if g is not None}
        faulty_weights = ~tf.math.is_finite(weights)
        faulty_losses, looked = ~tf.math.is_finite(losses) & ~faulty_weights, tf.constant(True)
        if isinstance(self._optimizer, keras.optimizers.LossScaleOptimizer):
            # A loss scale above 1 skips steps that overflow and is lowered; only at 1 are overflows faults.
            overflowed = ~tf.reduce_all(list(finite.values()))
            looked = tf.convert_to_tensor(self._optimizer.dynamic_scale) <= 1.0
            faulty_losses &= tf.math.is_nan(losses) | ~overflowed
        faults = [*tf.unstack(faulty_losses, count), tf.constant(False)]
        lost = tf.reduce_any(faulty_losses | faulty_weights)
        for i, fine in finite.items():  # After a faulty loss, other tasks' gradients may be faulty through the balancer alone.
            faults[owners[i]] |= looked & ~lost & ~fine
        faulty = tf.concat([tf.stack(faults), faulty_weights, [False]], axis=0)
        return self._remember(faulty, iterations_of(self._optimizer).value + 1)

    def _remember(self, faulty: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Add a step's faults to those to be reported, and return whether it has none."""
        bad = tf.reduce_any(faulty)
        first = bad & tf.equal(self._count.value, 0)
        reported = first | (bad & self.skip)  # An error that ends the training reports its first step alone.
        self._faults.assign(tf.where(reported, tf.maximum(tf.cast(faulty, tf.float32), self._faults.value), self._faults.value))
        self._step.assign(tf.where(first, tf.cast(step, tf.int64), self._step.value))
        self._count.assign_add(tf.cast(bad, tf.int64))
        return ~bad

    def gate(self, finite: tf.Tensor) -> list[Any]:
        """Return operations that an update depends on; they fail if the step ends the training."""
        if self.skip or self._compiled:  # XLA drops assertions.
            return []
        with tf.control_dependencies([tf.identity(v.value) for v in (self._faults, self._step, self._count)]):
            checked = tf.debugging.Assert(finite, ["A step is not finite."])
        return [] if checked is None else [checked]

    def keep(self) -> list[tf.Tensor]:
        """Return the values before an update, if it may be undone."""
        return [] if self._all is None else self._all.values()

    def look_at_update(self, finite: tf.Tensor, before: list[tf.Tensor]) -> None:
        """Check the weights after an update, and undo it if steps that are not finite are skipped.

        Args:
            finite: whether the update's gradients were finite.
            before: values that `keep` returned.
        """
        sound = tf.reduce_all([tf.reduce_all(tf.math.is_finite(variable.value)) for variable in self._variables])
        faulty = tf.concat([tf.zeros([2 * len(self._tasks) + 1], tf.bool), [finite & ~sound]], axis=0)
        sound = self._remember(faulty, iterations_of(self._optimizer).value)
        if self._all is not None:
            self._all.restore(before, finite & sound)

    def fault(self) -> FloatingPointError | None:
        """Return the error for steps since the last call that were not finite; warn instead if such steps are skipped."""
        count = int(tf.convert_to_tensor(self._count.value))
        if not count:
            return None
        step, faults = int(tf.convert_to_tensor(self._step.value)), tf.convert_to_tensor(self._faults.value).numpy() > 0
        self._count.assign(0)
        self._faults.assign(tf.zeros_like(self._faults.value))
        number = len(self._tasks)
        by_task, shared, weights, update = faults[:number], faults[number], faults[number + 1 : -1], faults[-1]
        subjects = []
        if weights.any():
            subjects.append(f"The sample weights of {self._names(weights)} were")
        if by_task.any():
            subjects.append(f"The loss or gradient of {self._names(by_task)} was")
        elif shared:
            subjects.append("The gradient of what the tasks share was")
        if update:
            subjects.append("What the update made of the weights was")
        what = subjects[0] + "".join(f" not finite, {subject[0].lower()}{subject[1:]}" for subject in subjects[1:])
        if self.skip:
            left = "which was left out" if count == 1 else f"and at {count - 1} of those after it, which were left out"
            warnings.warn(f"{what} not finite at step {step}, {left}.", stacklevel=3)
            return None
        spoilt = "The weights are spoilt: load a checkpoint from before" if update or self._compiled else "The model is as before"
        return FloatingPointError(
            f"{what} not finite at step {step}. {spoilt} that step. Lower the learning rate, clip the gradients, look at the "
            "data, or leave such steps out with compile(..., skip_nonfinite=True)."
        )

    def _names(self, which: Any) -> str:
        return ", ".join(f"'{task}'" for task, chosen in zip(self._tasks, which, strict=True) if chosen)

    def check(self) -> None:
        """Report steps since the last call that were not finite.

        Raises:
            FloatingPointError: there is one, and such steps are not skipped.
        """
        if error := self.fault():
            raise error from None
