"""Accumulation of the gradients of several batches for one update."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from mtl.training.gradients.task_gradients import TaskGradients
from mtl.training.keras_internals.optimizer_internals import (
    accumulating_steps,
    added_variable,
    built_optimizers_in,
    iterations_of,
)
from mtl.training.measured import Measured, weighted_update
from mtl.training.scoring import Totals

__all__ = ["AccumulationWindow", "batches_to_an_update"]


def batches_to_an_update(optimizer: keras.optimizers.Optimizer) -> int:
    """Return the number of batches per update, the optimizer's `gradient_accumulation_steps`.

    Raises:
        ValueError: optimizers of several groups of variables accumulate over different numbers of batches.

    Example:

    >>> batches_to_an_update(keras.optimizers.SGD()), batches_to_an_update(keras.optimizers.SGD(gradient_accumulation_steps=4))
    (1, 4)
    """
    lengths = {accumulating_steps(inner) for inner in built_optimizers_in(optimizer)}
    if len(lengths) > 1:
        raise ValueError(
            f"A model's optimizers update together: got gradient_accumulation_steps {sorted(lengths)}. Give all the same."
        )
    return lengths.pop()


class AccumulationWindow:
    """Sums over the batches since the last update, so that `k` batches train as one batch of all their rows.

    `g_t = sum_b sum_rows w grad l_t / sum_b sum_rows w`, over the batches `b` of the window; a balancer gets the losses
    and gradients of the window, not of single batches. A sum is kept for each variable that one task alone depends on, and
    one sum per task for each variable that several depend on: the window's weights are known only at its end. The sums are
    variables of the optimizer, and are saved with it.

    Args:
        optimizer: a built optimizer.
        gradients: the `TaskGradients` of the model, with `window=True`.
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer, gradients: TaskGradients):
        self.gradients, self._optimizer = gradients, optimizer
        self.length = batches_to_an_update(optimizer)
        count, halves = len(gradients.model.task_names), gradients.model.balancer.batches
        self._sums: list[Any] = []

        def variable(name: str, shape: Sequence[int]) -> Any:
            self._sums.append(added_variable(optimizer, f"window_{name}", shape))
            return self._sums[-1]

        tables = gradients.gradients.tables
        self._shared = [
            [
                variable(
                    f"shared_{half}_{n}", [count * v.shape[0], v.shape[1]] if id(v) in tables else [count, math.prod(v.shape)]
                )
                for n, v in enumerate(gradients.shared)
            ]
            for half in range(halves)
        ]
        self._task_specific = {
            task: [variable(f"task_{i}_{n}", v.shape) for n, v in enumerate(gradients.task_specific[task])]
            for i, task in enumerate(gradients.model.task_names)
        }
        at_features = gradients.at == "representation" and gradients.compares
        self._gramian = variable("gramian", [count, count]) if at_features else None
        self._sizes = variable("sizes", [halves, count])
        self._losses, self._weights, self._rows = (variable(name, [count]) for name in ("losses", "weights", "rows"))
        self._batches = variable("batches", [])

    @property
    def rows(self) -> tf.Tensor:
        """Number of labelled rows of each task so far, float32 `[K]`."""
        return self._rows.value

    @property
    def counts(self) -> tf.Tensor:
        """Whether the window has any batch that was not skipped."""
        return self._batches.value > 0

    def steps(self) -> tf.Tensor:
        """Number of batches that the optimizer has counted."""
        return tf.identity(iterations_of(self._optimizer).value)

    def due(self) -> tf.Tensor:
        """Whether the next batch is the window's last."""
        return tf.equal((self.steps() + 1) % self.length, 0)

    def skip(self) -> None:
        """Count a batch that makes no update yet."""
        for optimizer in built_optimizers_in(self._optimizer):
            iterations_of(optimizer).assign_add(1)

    def add(self, measured: Measured, finite: tf.Tensor) -> None:
        """Add a batch, or nothing if it is not finite."""
        scale = self.gradients.scale()

        def accumulate(variable: Any, value: tf.Tensor) -> None:
            variable.assign_add(tf.where(finite, value, tf.zeros_like(value)))

        count = len(self.gradients.model.task_names)
        for sums, shared, size in zip(self._shared, measured.shared, measured.weight_sums, strict=True):
            factor = size / scale  # Gradients are of losses over the batch's weights, times the optimizer's scale.
            for variable, (rows, taken), v in zip(sums, shared, self.gradients.shared, strict=True):
                value = factor[:, None] * rows
                if id(v) not in self.gradients.gradients.tables:
                    accumulate(variable, value)
                    continue
                positions = tf.range(count, dtype=tf.int64)[:, None] * v.shape[0] + taken
                value = tf.reshape(tf.where(finite, value, tf.zeros_like(value)), [-1, v.shape[1]])
                variable.value.scatter_add(tf.IndexedSlices(value, tf.reshape(positions, [-1])))
        factors = tf.add_n(measured.weight_sums) / scale
        for i, (task, sums) in enumerate(self._task_specific.items()):
            for variable, value in zip(sums, measured.task_specific.get(task, ()), strict=False):
                accumulate(variable, factors[i] * tf.cast(value, tf.float32))
        if self._gramian is not None:
            accumulate(self._gramian, measured.gramian * factors[:, None] * factors)
        accumulate(self._sizes, tf.stack(measured.weight_sums))
        totals = measured.totals
        accumulate(self._losses, totals.losses)
        accumulate(self._weights, totals.weights)
        accumulate(self._rows, totals.counts[:count])
        accumulate(self._batches, tf.constant(1.0))

    def measured(self) -> Measured:
        """Return the gradients of all batches, as those of one batch."""
        gradients, scale = self.gradients, self.gradients.scale()
        sizes = tf.unstack(self._sizes.value)
        count, shared = len(gradients.model.task_names), []
        for sums, size in zip(self._shared, sizes, strict=True):
            factor = tf.math.divide_no_nan(scale, size)[:, None]
            shared.append([factor * tf.reshape(variable.value, [count, -1]) for variable in sums])
        factors = tf.unstack(tf.math.divide_no_nan(scale, tf.add_n(sizes)))
        specific = {
            task: [factor * variable.value for variable in variables]
            for factor, (task, variables) in zip(factors, self._task_specific.items(), strict=True)
        }
        factors = tf.stack(factors)
        gramian = None if self._gramian is None else self._gramian.value * factors[:, None] * factors
        _, of_penalty = gradients.penalty(scale)
        totals = Totals(self._losses.value, self._weights.value, tf.constant(0.0), tf.zeros([count + 3]), {})
        compared = [gradients.compared_gradients(half) for half in shared]
        update = weighted_update(gradients.shared, shared[0])
        return Measured(compared, [], specific, sizes, totals, update, gramian, of_penalty)

    def close(self, before: tf.Tensor) -> None:
        """Reset the sums after an update; an update that the optimizer skipped is not counted, and nor are its batches.

        Args:
            before: the optimizer's count of batches before the update.
        """
        for variable in self._sums:
            variable.assign(tf.zeros_like(variable.value))
        done = tf.cast(iterations_of(self._optimizer).value - before, tf.int64)
        for optimizer in built_optimizers_in(self._optimizer):
            iterations_of(optimizer).assign_sub((1 - done) * (self.length - 1))
