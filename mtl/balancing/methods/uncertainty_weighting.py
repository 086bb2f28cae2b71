"""Weights from learned uncertainties."""

import math
from typing import Any

import keras
import tensorflow as tf

from mtl.balancing.balancer import Balancer, check_range
from mtl.balancing.floored import floored
from mtl.utils.arguments import checked

__all__ = ["UncertaintyWeighting"]


@keras.saving.register_keras_serializable("mtl")
class UncertaintyWeighting(Balancer):
    """Losses divided by learned variances: `L = sum_t e^{-s_t} L_t / 2 + s_t / 2`.

    The log-variances `s_t` start from 0 and are trained by the model's optimizer. At their optimum `s_t = log L_t`. To keep the
    weight of a solved task from growing without bound, `s_t` is at least `log floor`.

    Args:
        floor: the loss below which a task's weight stops growing; 0 for none. The largest weight is `1 / (2 floor)`.

    Raises:
        ValueError: a floor below 0.

    Example:

    >>> import mtl
    >>> balancer = mtl.balancing.UncertaintyWeighting()
    >>> float(balancer.combine([2.0, 4.0]))
    3.0
    >>> len(balancer.state.trainable_variables)
    2

    Reference:
        Kendall, Gal and Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry and Semantics",
        CVPR 2018. Equation 7, with `s = log sigma^2` as in the authors' code.
    """

    @checked
    def __init__(self, floor: float = 1e-3):
        self.floor = check_range(self, "floor", floor, 0.0)

    def _make_state(self, count: int) -> None:
        self._log_variances = [self.state.add(f"log_variance_{i}", trainable=True) for i in range(count)]

    def task_variables(self, task: str) -> list[Any]:
        return [self._log_variances[self.tasks.index(task)]]

    def _combine(self, losses: Any, active: Any, training: bool) -> Any:
        logs = tf.cast(tf.stack([tf.convert_to_tensor(each) for each in self._log_variances]), losses.dtype)
        if self.floor:
            logs = floored(logs, math.log(self.floor))
        weights = 0.5 * tf.exp(-logs)
        if training:
            self._show(weights, active)
        return tf.reduce_sum(tf.where(active, weights * losses + 0.5 * logs, tf.zeros_like(losses)))
