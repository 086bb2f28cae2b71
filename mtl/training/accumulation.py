"""Gradients of several batches that make one update."""

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
from mtl.training.measured import Measured, update_of
from mtl.training.scoring import Totals

__all__ = ["AccumulationWindow", "batches_to_an_update"]


def batches_to_an_update(optimizer: keras.optimizers.Optimizer) -> int:
    """How many batches make an update, by the optimizer's `gradient_accumulation_steps`.

    Raises:
        ValueError: optimizers of several groups of variables accumulate over different numbers of batches.

    Example:

    >>> batches_to_an_update(keras.optimizers.SGD()), batches_to_an_update(keras.optimizers.SGD(gradient_accumulation_steps=4))
    (1, 4)
    """
    lengths = {accumulating_steps(each) for each in built_optimizers_in(optimizer)}
    if len(lengths) > 1:
        raise ValueError(
            f"A model's optimizers update together: got gradient_accumulation_steps {sorted(lengths)}. Give all the same."
        )
    return lengths.pop()


class AccumulationWindow:
    """Sums over the batches since the last update, so that `k` batches train as one batch of all their rows.

    `g_t = sum_b sum_rows w grad l_t / sum_b sum_rows w`, over the batches `b` of the window; a balancer sees the window's losses
    and gradients, and nothing of a single batch. One float32 number is kept for each variable that one task alone reaches, and
    one for each task for each variable that several reach: which part of a sum is whose must be known when the window's weights
    are. The sums are variables of the optimizer, and are saved with it.

    Args:
        optimizer: a built optimizer.
        gradients: the model's, with `window=True`.
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
        self._own = {
            task: [variable(f"own_{i}_{n}", v.shape) for n, v in enumerate(gradients.own[task])]
            for i, task in enumerate(gradients.model.task_names)
        }
        at_features = gradients.at == "representation" and gradients.compares
        self._gramian = variable("gramian", [count, count]) if at_features else None
        self._sizes = variable("sizes", [halves, count])
        self._losses, self._weights, self._rows = (variable(name, [count]) for name in ("losses", "weights", "rows"))
        self._batches = variable("batches", [])

    @property
    def rows(self) -> tf.Tensor:
        """How many labelled rows each task has had so far, float32 `[K]`."""
        return self._rows.value

    @property
    def counts(self) -> tf.Tensor:
        """Whether any batch counts: one that is left out does not."""
        return self._batches.value > 0

    def steps(self) -> tf.Tensor:
        """How many batches the optimizer has seen."""
        return tf.identity(iterations_of(self._optimizer).value)

    def due(self) -> tf.Tensor:
        """Whether the next batch is the window's last."""
        return tf.equal((self.steps() + 1) % self.length, 0)

    def skip(self) -> None:
        """Counts a batch that makes no update yet."""
        for optimizer in built_optimizers_in(self._optimizer):
            iterations_of(optimizer).assign_add(1)

    def add(self, measured: Measured, finite: tf.Tensor) -> None:
        """Adds a batch, or nothing where it is not finite."""
        scale = self.gradients.scale()

        def put(variable: Any, value: tf.Tensor) -> None:
            variable.assign_add(tf.where(finite, value, tf.zeros_like(value)))

        count = len(self.gradients.model.task_names)
        for sums, shared, size in zip(self._shared, measured.shared, measured.sizes, strict=True):
            factor = size / scale  # Gradients are of losses over the batch's weights, times the optimizer's scale.
            for variable, (rows, taken), v in zip(sums, shared, self.gradients.shared, strict=True):
                value = factor[:, None] * rows
                if id(v) not in self.gradients.gradients.tables:
                    put(variable, value)
                    continue
                places = tf.range(count, dtype=tf.int64)[:, None] * v.shape[0] + taken
                value = tf.reshape(tf.where(finite, value, tf.zeros_like(value)), [-1, v.shape[1]])
                variable.value.scatter_add(tf.IndexedSlices(value, tf.reshape(places, [-1])))
        factors = tf.add_n(measured.sizes) / scale
        for i, (task, sums) in enumerate(self._own.items()):
            for variable, value in zip(sums, measured.own.get(task, ()), strict=False):
                put(variable, factors[i] * tf.cast(value, tf.float32))
        if self._gramian is not None:
            put(self._gramian, measured.gramian * factors[:, None] * factors)
        put(self._sizes, tf.stack(measured.sizes))
        totals = measured.totals
        put(self._losses, totals.losses)
        put(self._weights, totals.weights)
        put(self._rows, totals.counts[:count])
        put(self._batches, tf.constant(1.0))

    def measured(self) -> Measured:
        """What all batches give together, as one batch would."""
        gradients, scale = self.gradients, self.gradients.scale()
        sizes = tf.unstack(self._sizes.value)
        count, shared = len(gradients.model.task_names), []
        for sums, size in zip(self._shared, sizes, strict=True):
            factor = tf.math.divide_no_nan(scale, size)[:, None]
            shared.append([factor * tf.reshape(variable.value, [count, -1]) for variable in sums])
        factors = tf.unstack(tf.math.divide_no_nan(scale, tf.add_n(sizes)))
        own = {task: [factor * each.value for each in self._own[task]] for factor, task in zip(factors, self._own, strict=True)}
        factors = tf.stack(factors)
        gramian = None if self._gramian is None else self._gramian.value * factors[:, None] * factors
        _, of_penalty = gradients.penalty(scale)
        totals = Totals(self._losses.value, self._weights.value, tf.constant(0.0), tf.zeros([count + 3]), {})
        rows = [gradients.compared_rows(each) for each in shared]
        update = update_of(gradients.shared, shared[0])
        return Measured(rows, [], own, sizes, totals, update, gramian, of_penalty)

    def close(self, before: tf.Tensor) -> None:
        """Begins anew after an update; one that the optimizer has left out is not counted, and nor are its batches.

        Args:
            before: the optimizer's count of batches before the update.
        """
        for variable in self._sums:
            variable.assign(tf.zeros_like(variable.value))
        done = tf.cast(iterations_of(self._optimizer).value - before, tf.int64)
        for optimizer in built_optimizers_in(self._optimizer):
            iterations_of(optimizer).assign_sub((1 - done) * (self.length - 1))
