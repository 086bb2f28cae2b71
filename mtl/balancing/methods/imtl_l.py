"""Losses scaled to one size."""

import math
from typing import Any

import keras
import tensorflow as tf

from mtl.balancing.balancer import Balancer, check_range
from mtl.balancing.floored import floored
from mtl.utils.arguments import checked

__all__ = ["IMTLL"]


@keras.saving.register_keras_serializable("mtl")
class IMTLL(Balancer):
    """Impartial multi-task learning, the part for losses: `L = sum_t e^{s_t} L_t - s_t`.

    The scales `s_t` start from 0 and are trained by the model's optimizer; at their optimum, all scaled losses are 1. To keep the
    scale of a solved task from growing without bound, `-s_t` is at least `log floor`.

    Args:
        floor: the loss below which a task's scale stops growing; 0 for none. The largest factor is `1 / floor`.

    Raises:
        ValueError: a floor below 0.

    Example:

    >>> import mtl
    >>> float(mtl.balancing.IMTLL().combine([2.0, 4.0]))
    6.0

    Reference:
        Liu, Li, Kuang, Xue, Chen, Yang, Liao and Zhang, "Towards Impartial Multi-task Learning", ICLR 2021.
    """

    @checked
    def __init__(self, floor: float = 1e-3):
        self.floor = check_range(self, "floor", floor, 0.0)

    def _make_state(self, count: int) -> None:
        self._scales = [self.state.add(f"scale_{i}", trainable=True) for i in range(count)]

    def task_variables(self, task: str) -> list[Any]:
        return [self._scales[self.tasks.index(task)]]

    def factors(self, dtype: Any) -> Any:
        """Return the current factor of each loss, `e^s`, `[K]`."""
        return tf.exp(self._logs(dtype))

    def _logs(self, dtype: Any) -> Any:
        logs = tf.cast(tf.stack([tf.convert_to_tensor(scale) for scale in self._scales]), dtype)
        return -floored(-logs, math.log(self.floor)) if self.floor else logs

    def _combine(self, losses: Any, active: Any, training: bool) -> Any:
        logs = self._logs(losses.dtype)  # Computed once, so that both terms contribute to one gradient.
        weights = tf.exp(logs)
        if training:
            self._show(weights, active)
        return tf.reduce_sum(tf.where(active, weights * losses - logs, tf.zeros_like(losses)))
