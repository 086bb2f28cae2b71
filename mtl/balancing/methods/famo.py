"""Weights with which all losses fall at one rate."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from mtl.balancing.balancer import Balancer, check_range, values_by_task
from mtl.balancing.solvers.adam import Adam
from mtl.balancing.solvers.simplex import portion, softmax
from mtl.utils.arguments import checked

__all__ = ["FAMO"]


@keras.saving.register_keras_serializable("mtl")
class FAMO(Balancer):
    """Fast adaptive multi-task optimization: `L = sum_t c_t L_t`, `c_t ∝ z_t / (L_t - b_t)`, `sum_t c_t = 1`, `z = softmax(w)`.

    `after_step` receives the losses of the same batch after the update: Adam updates `w` with the gradient
    `(diag z - z z^T) (log(L - b) before - log(L - b) after)`, so that the task that gained least has more weight.

    Args:
        learning_rate: learning rate of `w`.
        decay: weight decay of `w`, added to its gradient.
        bounds: task -> `b_t`, a lower bound of its loss; 0 for tasks not named. Where a loss falls to its bound, as losses
            below 0 do, the bound moves below the loss by the loss's absolute value.

    Example:

    >>> import mtl
    >>> balancer = mtl.balancing.FAMO()
    >>> float(balancer.combine([1.0, 3.0]))  # 0.75 of the first, 0.25 of the second
    1.5
    >>> balancer.after_step([0.5, 3.0])
    >>> float(balancer.combine([1.0, 3.0])) > 1.5
    True

    Reference:
        Liu, Feng, Stone and Liu, "FAMO: Fast Adaptive Multitask Optimization", NeurIPS 2023.
    """

    looks_ahead = True
    by_task = ("bounds",)

    @checked
    def __init__(self, learning_rate: float = 0.025, decay: float = 1e-3, bounds: Mapping[str, float] | None = None):
        self.learning_rate = check_range(self, "learning_rate", learning_rate, 0.0)
        self.decay = check_range(self, "decay", decay, 0.0)
        self.bounds = {task: float(bound) for task, bound in (bounds or {}).items()}

    def _make_state(self, count: int) -> None:
        self._logits = self.state.add("logits", [count])
        self._before = self.state.add("losses_before", [count])
        self._lowered = self.state.add("bounds_lowered", [count])
        self._adam = Adam(self.state, count, self.learning_rate, self.decay)

    def _combine(self, losses: Any, active: Any, training: bool) -> Any:
        seen = tf.stop_gradient(losses)
        shares = softmax(tf.cast(tf.convert_to_tensor(self._logits), losses.dtype), active)
        weights, _ = portion(shares / self._heights(seen, active, training), active)
        if training:
            self._keep(self._before, tf.where(active, tf.cast(seen, tf.float32), tf.convert_to_tensor(self._before)))
            self._show(weights, active)
        return tf.reduce_sum(weights * losses)

    def after_step(self, losses: Any, active: Any = None) -> None:
        losses = tf.stop_gradient(tf.cast(losses, tf.float32))
        active = self._begin(losses, active)
        losses = tf.where(active, losses, tf.zeros_like(losses))
        self._valid = tf.reduce_all(tf.math.is_finite(losses))
        after = self._heights(losses, active, training=True)
        before = self._heights(tf.identity(tf.convert_to_tensor(self._before)), active, training=False)
        gains = tf.where(active, tf.math.log(before) - tf.math.log(after), tf.zeros_like(after))
        logits = tf.identity(tf.convert_to_tensor(self._logits))
        shares = softmax(logits, active)
        gradient = shares * (gains - tf.reduce_sum(shares * gains))
        self._keep(self._logits, self._adam.step(self._keep, logits, gradient, active))

    def _heights(self, losses: Any, active: Any, training: bool) -> Any:
        """Return the losses minus their bounds, above 0; in training, lowered bounds are stored."""
        lowered = tf.cast(tf.convert_to_tensor(self._lowered), losses.dtype)
        bounds = values_by_task(self.tasks, self.bounds, 0.0, losses.dtype) - lowered
        room = tf.maximum(tf.abs(losses), 1e-8)
        below = active & (losses < bounds)
        if training:
            self._keep(self._lowered, tf.where(below, lowered + bounds - (losses - room), lowered))
        return tf.maximum(losses - tf.where(below, losses - room, bounds), 1e-8)
