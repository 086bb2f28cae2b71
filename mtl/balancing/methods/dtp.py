"""Weights from the current difficulty of the tasks."""

from typing import Any

import keras
import tensorflow as tf

from mtl.balancing.balancer import Balancer, check_range
from mtl.utils.arguments import checked

__all__ = ["DTP"]


@keras.saving.register_keras_serializable("mtl")
class DTP(Balancer):
    """Dynamic task prioritisation: `L = sum_t w_t L_t`, `w_t = -(1 - k_t)^gamma log k_t`, for a metric `k_t` such as accuracy.

    `observe` receives the metrics, after each step or epoch; `k_t` is their moving average, with weight `alpha` for the new
    value. A task has weight 1 before its first metric. `k_t` is kept between 1e-4 and 1.

    Args:
        gamma: the larger, the more the hard tasks count.
        alpha: the share of a new metric in the average.

    Example:

    >>> import mtl
    >>> balancer = mtl.balancing.DTP()
    >>> total = balancer.combine([1.0, 1.0])
    >>> balancer.observe([0.5, 1.0])
    >>> round(float(balancer.combine([1.0, 1.0])), 5)  # 0.25 log 2
    0.17329

    Reference:
        Guo, Haque, Huang, Yeung and Fei-Fei, "Dynamic Task Prioritization for Multitask Learning", ECCV 2018.
    """

    uses_metrics = True

    @checked
    def __init__(self, gamma: float = 2.0, alpha: float = 0.1):
        self.gamma = check_range(self, "gamma", gamma, 0.0)
        self.alpha = check_range(self, "alpha", alpha, 0.0, 1.0, open="(")

    def _make_state(self, count: int) -> None:
        self._metrics, self._seen = self.state.add("metrics", [count]), self.state.add("seen", [count])

    def observe(self, metrics: Any, active: Any = None) -> None:
        metrics = tf.cast(metrics, tf.float32)
        active = self._begin(metrics, active) & tf.math.is_finite(metrics)
        old, seen = tf.identity(tf.convert_to_tensor(self._metrics)), tf.identity(tf.convert_to_tensor(self._seen))
        new = tf.where(seen > 0, self.alpha * metrics + (1.0 - self.alpha) * old, metrics)
        self._metrics.assign(tf.where(active, new, old))
        self._seen.assign(tf.where(active, tf.ones_like(seen), seen))

    def _combine(self, losses: Any, active: Any, training: bool) -> Any:
        metrics = tf.clip_by_value(tf.convert_to_tensor(self._metrics), 1e-4, 1.0)
        weights = -((1.0 - metrics) ** self.gamma) * tf.math.log(metrics)
        weights = tf.cast(tf.where(tf.convert_to_tensor(self._seen) > 0, weights, tf.ones_like(weights)), losses.dtype)
        if training:
            self._show(weights, active)
        return tf.reduce_sum(weights * losses)
