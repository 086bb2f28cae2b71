"""Reordering of sequences by a mask."""

from typing import Any

from keras import ops

__all__ = ["front_order"]


def front_order(mask: Any) -> Any:
    """Return indices that move each row's marked positions to its front, in their order.

    Args:
        mask: bool `[B, S]`.

    Returns:
        int32 `[B, S]`, indices for `take_along_axis(..., axis=1)`.

    Example:

    >>> import numpy as np
    >>> np.asarray(front_order(np.array([[False, True, False, True]]))).tolist()
    [[1, 3, 0, 2]]
    """
    length = ops.shape(mask)[1]
    position = ops.arange(length, dtype="int32")[None]
    return ops.cast(ops.argsort(ops.where(mask, position, position + length), axis=1), "int32")
