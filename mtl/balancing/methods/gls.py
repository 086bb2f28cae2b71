"""The geometric mean of the losses."""

from typing import Any

import keras
import tensorflow as tf

from mtl.balancing.balancer import Balancer

__all__ = ["GLS"]


@keras.saving.register_keras_serializable("mtl")
class GLS(Balancer):
    """Geometric loss strategy: `L = (prod_t L_t)^{1 / K}`, for losses that are at least 0.

    The units of the losses do not matter. A loss of 0 counts as the smallest float, and has no gradient.

    Example:

    >>> import mtl
    >>> round(float(mtl.balancing.GLS().combine([2.0, 8.0])), 5)
    4.0

    Reference:
        Chennupati, Sistu, Yogamani and Rawashdeh, "MultiNet++: Multi-Stream Feature Aggregation and Geometric Loss Strategy for
        Multi-Task Learning", CVPR Workshops 2019.
    """

    def _combine(self, losses: Any, active: Any, training: bool) -> Any:
        count = tf.reduce_sum(tf.cast(active, losses.dtype))
        # Replaced before the logarithm, whose gradient at 0 would be NaN.
        usable = active & (losses > 1e-37)
        logs = tf.where(
            active, tf.math.log(tf.where(usable, losses, tf.fill(tf.shape(losses), tf.constant(1e-37, losses.dtype)))), 0
        )
        mean = tf.where(count > 0, tf.exp(tf.math.divide_no_nan(tf.reduce_sum(logs), count)), tf.zeros_like(count))
        if training:
            self._show(tf.where(usable, mean / (tf.where(usable, losses, tf.ones_like(losses)) * count), 0), active)
        return mean
