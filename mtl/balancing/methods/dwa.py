"""Weights from the rates at which losses fall."""

from typing import Any

import keras
import tensorflow as tf

from mtl.balancing.balancer import Balancer, check_range
from mtl.balancing.solvers.simplex import softmax
from mtl.utils.arguments import checked

__all__ = ["DWA"]


@keras.saving.register_keras_serializable("mtl")
class DWA(Balancer):
    """Dynamic weight average: more weight for a loss that falls slowly, `w = K softmax(r / T)`, `r_t = L_t(e-1) / L_t(e-2)`.

    `L_t(e)` is the task's mean loss over the steps of epoch `e` in which it was active; `after_epoch` ends an epoch. Weights are
    1 in the first two epochs.

    Args:
        temperature: T; the larger, the more even the weights.

    Example:

    >>> import mtl
    >>> balancer = mtl.balancing.DWA()
    >>> for losses in ([4.0, 4.0], [4.0, 2.0]):
    ...     total = balancer.combine(losses)
    ...     balancer.after_epoch()
    >>> round(float(balancer.combine([1.0, 0.0])), 4)  # 2 softmax(0.5, 0.25)
    1.1244

    Reference:
        Liu, Johns and Davison, "End-to-End Multi-Task Learning with Attention", CVPR 2019.
    """

    counts_epochs = True

    @checked
    def __init__(self, temperature: float = 2.0):
        self.temperature = check_range(self, "temperature", temperature, 0.0, open="(")

    def _make_state(self, count: int) -> None:
        names = ("total", "steps", "last", "before", "epochs")
        self._total, self._steps, self._last, self._before, self._epochs = (self.state.add(name, [count]) for name in names)

    def _combine(self, losses: Any, active: Any, training: bool) -> Any:
        last, before, epochs = (tf.convert_to_tensor(each) for each in (self._last, self._before, self._epochs))
        ratios = tf.where((epochs >= 2.0) & (before != 0.0), tf.math.divide_no_nan(last, before), tf.ones_like(last))
        present = tf.cast(active, tf.float32)
        weights = tf.cast(tf.reduce_sum(present) * softmax(ratios / self.temperature, active), losses.dtype)
        if training:
            self._keep(self._total, tf.convert_to_tensor(self._total) + tf.cast(tf.stop_gradient(losses), tf.float32))
            self._keep(self._steps, tf.convert_to_tensor(self._steps) + present)
            self._show(weights, active)
        return tf.reduce_sum(weights * losses)

    def after_epoch(self) -> None:
        if self.state is None:
            return
        total, steps, last, before, epochs = (
            tf.identity(tf.convert_to_tensor(each)) for each in (self._total, self._steps, self._last, self._before, self._epochs)
        )
        seen = steps > 0
        self._before.assign(tf.where(seen, last, before))
        self._last.assign(tf.where(seen, tf.math.divide_no_nan(total, steps), last))
        self._epochs.assign(tf.where(seen, epochs + 1.0, epochs))
        self._total.assign(tf.zeros_like(total))
        self._steps.assign(tf.zeros_like(steps))
