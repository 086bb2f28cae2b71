"""Rows without a label, and rows with an invalid one."""

from typing import Any

import tensorflow as tf
from keras import ops

__all__ = ["by_class", "given", "known_ids", "labelled"]


def given(target: Any, missing: float | None = None) -> Any:
    """Return which entries of a target are labels: all except NaN and `missing`.

    Args:
        target: `[...]`, of any dtype.
        missing: the number that means "not labelled"; None for no such number.

    Returns:
        bool `[...]`.

    Example:

    >>> import numpy as np
    >>> given(np.array([1.0, np.nan, -1.0])).numpy().tolist(), given(np.array([2, 0, -1]), missing=-1).numpy().tolist()
    ([True, False, True], [True, True, False])
    """
    target = ops.convert_to_tensor(target)
    known = ops.logical_not(ops.isnan(target)) if target.dtype.is_floating else ops.ones_like(target, dtype="bool")
    return known if missing is None else ops.logical_and(known, ops.not_equal(target, ops.cast(missing, target.dtype)))


def by_class(target: Any, weight: Any, missing: float | None = None) -> Any:
    """Return the weight of each class of each row: the row's weight if the class is known, 0 if the target is NaN or `missing`.

    Args:
        target: `[B, C]`.
        weight: `[B]` or `[B, C]`.
        missing: the number that means "not known"; None for no such number.

    Returns:
        float32 `[B, C]`.

    Example:

    >>> import numpy as np
    >>> by_class(np.array([[1.0, np.nan], [0.0, 1.0]]), np.array([2.0, 0.5])).numpy().tolist()
    [[2.0, 0.0], [0.5, 0.5]]
    """
    weight = ops.cast(weight, "float32")
    if ops.ndim(weight) < ops.ndim(target):
        weight = ops.expand_dims(weight, -1)
    return ops.where(given(target, missing), weight, 0.0)


def labelled(weight: Any, array: Any) -> Any:
    """Return `array` with zeros where `weight` is 0.

    Rows without a label hold fillers, and may hold NaN; `0 * NaN` is NaN, so they are replaced before any computation. Their
    gradient is zero.

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
    """Return class ids after checking their range; code compiled by XLA does not check them.

    Args:
        ids: integers of any shape.
        count: number of classes.
        owner: name of the ids' owner in the message.

    Raises:
        InvalidArgumentError: if an id is not between 0 and `count - 1` (raised at run time).

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
