"""Weights that are at least 0 and sum to 1."""

from typing import Any

import tensorflow as tf

__all__ = ["portion", "project", "softmax"]


def softmax(logits: Any, active: Any) -> Any:
    """Return the softmax over the active tasks, 0 for the others; `[K]`."""
    lowest = tf.fill(tf.shape(logits), tf.constant(logits.dtype.min, logits.dtype))
    powers = tf.exp(logits - tf.reduce_max(tf.where(active, logits, lowest)))
    powers = tf.where(active, powers, tf.zeros_like(powers))
    return tf.math.divide_no_nan(powers, tf.reduce_sum(powers))


def portion(values: Any, active: Any) -> tuple[Any, Any]:
    """Return the active tasks' values divided by their sum, 0 for the others, and the sum."""
    values = tf.where(active, values, tf.zeros_like(values))
    return tf.math.divide_no_nan(values, tf.reduce_sum(values)), tf.reduce_sum(values)


def project(point: Any, active: Any) -> Any:
    """Return the point of the active tasks' simplex nearest to `point`, `[K]`.

    Reference:
        Held, Wolfe and Crowder, "Validation of subgradient optimization", Mathematical Programming, 1974.
    """
    # Subtracting the largest value keeps precision when 1 is added below; values below -1 get weight 0.
    point = point - tf.reduce_max(tf.where(active, point, tf.reduce_min(point) * tf.ones_like(point)))
    point = tf.where(active, point, -2.0 * tf.ones_like(point))
    ordered = tf.sort(point, direction="DESCENDING")
    above = (tf.cumsum(ordered) - 1.0) / tf.range(1, point.shape[0] + 1, dtype=point.dtype)
    inside = tf.math.count_nonzero(ordered > above)
    weights = tf.maximum(point - above[inside - 1], 0.0)
    return tf.where(active, weights, tf.zeros_like(weights))
