"""Importance of examples."""

import math
from typing import Any

import numpy as np

from mtl.data.sources.rows import Malformed, shown

__all__ = ["weight_of"]

_LARGEST = float(np.finfo(np.float32).max)


def weight_of(value: Any) -> float:
    """Convert a source's value to a weight: a finite number from 0 that float32 can hold, or such a number as text.

    Raises:
        Malformed: if it is anything else.

    Example:

    >>> weight_of("0.5"), weight_of(2)
    (0.5, 2.0)
    """
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0 <= number <= _LARGEST:
        bound = f" to {_LARGEST:.1e}" if _LARGEST < number < math.inf else ""
        raise Malformed(f"expected a weight, a finite number from 0{bound}, got {shown(value)}", "mend the weight")
    return number
