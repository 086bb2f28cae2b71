"""Reproducible random samples."""

import random
from collections.abc import Iterable
from typing import TypeVar

__all__ = ["sample"]

T = TypeVar("T")


def sample(items: Iterable[T], size: int | None, seed: int = 0) -> list[T]:
    """Return all items, or `size` of them drawn at random in one pass, in their order; a function of the items and the seed.

    Args:
        items: items to draw from.
        size: maximum number of items; None for all.
        seed: seed of the draw.

    Example:

    >>> len(sample("abcdef", 3)), sample("ab", 3)
    (3, ['a', 'b'])

    Reference:
        Vitter, "Random Sampling with a Reservoir", ACM TOMS 1985 (algorithm R).
    """
    if size is None:
        return list(items)
    rng = random.Random(seed)
    kept: list[tuple[int, T]] = []
    for position, item in enumerate(items):
        if len(kept) < size:
            kept.append((position, item))
        elif (place := rng.randrange(position + 1)) < size:
            kept[place] = (position, item)
    return [item for _, item in sorted(kept, key=lambda pair: pair[0])]
