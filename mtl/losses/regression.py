"""Losses for regression."""

from typing import Any

from keras import ops

__all__ = ["absolute_error", "huber", "squared_error"]


def squared_error(target: Any, output: Any) -> Any:
    """Return the squared error of each number, `(y - t)^2`; its mean is the MSE.

    Args:
        target: `[...]`.
        output: `[...]`.

    Returns:
        float32 `[...]`.

    Example:

    >>> float(squared_error(1.0, 4.0))
    9.0
    """
    return ops.square(_error(target, output))


def absolute_error(target: Any, output: Any) -> Any:
    """Return the absolute error of each number, `|y - t|`; its mean is the MAE.

    Args:
        target: `[...]`.
        output: `[...]`.

    Returns:
        float32 `[...]`.

    Example:

    >>> float(absolute_error(1.0, 4.0))
    3.0
    """
    return ops.abs(_error(target, output))


def huber(target: Any, output: Any, *, delta: float = 1.0) -> Any:
    """Return Huber's loss of each number: `e^2 / 2` for an error `e` up to `delta`, `delta (|e| - delta / 2)` beyond.

    Args:
        target: `[...]`.
        output: `[...]`.
        delta: the error at which the loss changes from quadratic to linear.

    Returns:
        float32 `[...]`.

    Example:

    >>> float(huber(1.0, 4.0))
    2.5

    Reference:
        Huber, "Robust Estimation of a Location Parameter", Annals of Mathematical Statistics 1964.
    """
    error = ops.abs(_error(target, output))
    bent = ops.minimum(error, delta)
    return bent * (error - 0.5 * bent)


def _error(target: Any, output: Any) -> Any:
    return ops.cast(output, "float32") - ops.cast(target, "float32")
