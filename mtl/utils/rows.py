"""Rows that have no label."""

from typing import Any

from keras import ops

__all__ = ["labelled"]


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
