"""Rows that have no label, or one that there is not."""

from typing import Any

import tensorflow as tf
from keras import ops

__all__ = ["known_ids", "labelled"]


def labelled(weight: Any, array: Any) -> Any:
    """`array` with zeros where `weight` is 0.

    Rows without a label hold fillers, and may hold NaN; `0 * NaN` is NaN, so they are replaced before anything is computed
    of them. Their gradient is zero.

    Args:
        weight: `[B]` or `[B, S]`.
        array: `[B, ...]` or `[B, S, ...]`.

    Example:

    >>> import numpy as np
    >>> labelled(np.array([1.0, 0.0]), np.array([[2.0], [np.nan]])).numpy().tolist()
    [[2.0], [0.0]]
    """
    keep = ops.not_equal(weight, 0)
    for _ in range(ops.ndim(array) - ops.ndim(weight)):
        keep = ops.expand_dims(keep, -1)
    return ops.where(keep, array, ops.zeros_like(array))


def known_ids(ids: Any, count: int, owner: str) -> Any:
    """Class ids, checked before anything is computed of them; where XLA compiles, they pass unchecked.

    Args:
        ids: integers of any shape.
        count: how many classes there are.
        owner: whose they are, for the message.

    Raises:
        InvalidArgumentError: (when it runs) an id that is not from 0 to `count - 1`.

    Example:

    >>> known_ids(tf.constant([0, 2]), 3, "head 'topic'").numpy().tolist()
    [0, 2]
    """
    ids = tf.convert_to_tensor(ids)
    wrong = (ids < 0) | (ids >= count)
    low, high = tf.reduce_min(ids), tf.reduce_max(ids)
    said = f"Expected class ids from 0 to {count - 1} for {owner}; among those that came is"
    with tf.control_dependencies([tf.debugging.Assert(~tf.reduce_any(wrong), [said, tf.where(low < 0, low, high)])]):
        return tf.identity(ids)
