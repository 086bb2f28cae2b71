"""Learned numbers with a lower bound."""

from typing import Any

import tensorflow as tf

__all__ = ["floored"]


def floored(values: Any, low: float) -> Any:
    """Return `max(values, low)`, with the gradient of `values`, except 0 where descent would lead further below the floor.

    A plain maximum has no gradient below the floor, so that a value below it could never rise again.

    Args:
        values: floats of any shape.
        low: the floor.

    Returns:
        Floats of the shape of `values`.

    Example:

    >>> s = tf.Variable([-9.0, -9.0, 2.0])
    >>> with tf.GradientTape() as tape:
    ...     value = floored(s, -7.0)
    ...     loss = tf.reduce_sum(value * [1.0, -1.0, 1.0])
    >>> value.numpy().tolist(), tape.gradient(loss, s).numpy().tolist()
    ([-7.0, -7.0, 2.0], [0.0, -1.0, 1.0])
    """

    @tf.custom_gradient
    def clipped(values: Any) -> Any:
        def gradient(upstream: Any) -> Any:
            return tf.where((values <= low) & (upstream > 0.0), tf.zeros_like(upstream), upstream)

        return tf.maximum(values, tf.cast(low, values.dtype)), gradient

    return clipped(values)
