"""Losses brought to one size."""

from typing import Any

import keras
import tensorflow as tf

from mtl.balancing.balancer import Balancer

__all__ = ["IMTLL"]


@keras.saving.register_keras_serializable("mtl")
class IMTLL(Balancer):
    """Impartial multi-task learning, its half for losses: `L = sum_t e^{s_t} L_t - s_t`.

    The scales `s_t` start from 0 and are trained by the model's optimizer; where they settle, all scaled losses are 1.

    Example:

    >>> import mtl
    >>> float(mtl.balancing.IMTLL().combine([2.0, 4.0]))
    6.0

    Reference:
        Liu, Li, Kuang, Xue, Chen, Yang, Liao and Zhang, "Towards Impartial Multi-task Learning", ICLR 2021.
    """

    def _make_state(self, count: int) -> None:
        self._scales = [self.state.add(f"scale_{i}", trainable=True) for i in range(count)]

    def task_variables(self, task: str) -> list[Any]:
        return [self._scales[self.tasks.index(task)]]

    def factors(self, dtype: Any) -> Any:
        """What each loss is multiplied by now, `e^s`, `[K]`."""
        return tf.exp(self._logs(dtype))

    def _logs(self, dtype: Any) -> Any:
        return tf.cast(tf.stack([tf.convert_to_tensor(scale) for scale in self._scales]), dtype)

    def _combine(self, losses: Any, active: Any, training: bool) -> Any:
        weights = self.factors(losses.dtype)
        if training:
            self._show(weights, active)
        return tf.reduce_sum(tf.where(active, weights * losses - self._logs(losses.dtype), tf.zeros_like(losses)))
