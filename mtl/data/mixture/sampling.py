"""Sampling rates of groups of examples."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from mtl.utils import unknown_name

__all__ = ["counts", "order", "shares"]

METHODS = ("proportional", "uniform", "weights", "temperature", "annealed")


def shares(
    sizes: Sequence[int],
    method: str = "proportional",
    *,
    weights: Sequence[float] | None = None,
    temperature: float = 1.0,
    cap: int | None = None,
    progress: float = 0.0,
) -> np.ndarray:
    """Return the share of draws of each group.

    With sizes `n`: `proportional` p ~ n; `uniform` p ~ 1; `weights` p ~ w; `temperature` p ~ min(n, cap)^(1/T);
    `annealed` p ~ n^(1 - 0.8 progress), from proportional at the start towards uniform at the end.

    Args:
        sizes: number of examples per group.
        method: one of the five methods.
        weights: for `weights`, one weight per group.
        temperature: for `temperature`, T > 0; 1 is proportional, infinity is uniform.
        cap: for `temperature`, the maximum size that a group counts with.
        progress: for `annealed`, the completed fraction of the training, 0 to 1.

    Returns:
        float64 `[len(sizes)]` with the sum 1.

    Raises:
        ValueError: if the method is unknown or a setting is out of range.

    Example:

    >>> shares([900, 100], "temperature", temperature=2.0).round(2).tolist()
    [0.75, 0.25]

    Reference:
        Temperature and cap: Raffel et al., "Exploring the Limits of Transfer Learning", JMLR 2020. Annealed: Stickland and
        Murray, "BERT and PALs", ICML 2019.
    """
    if method not in METHODS:
        raise unknown_name("sampling", method, METHODS)
    n = np.asarray(sizes, np.float64)
    if method == "uniform":
        p = (n > 0).astype(np.float64)
    elif method == "weights":
        if weights is None or len(weights) != len(n):
            raise ValueError(f"Sampling by weights expects a weight for each of the {len(n)} groups of tasks; got {weights}.")
        p = np.asarray(weights, np.float64) * (n > 0)
        if not (p >= 0).all() or not p.sum() > 0:
            raise ValueError(f"Sampling weights are at least 0 and not all 0; got {list(weights)}.")
    elif method == "temperature":
        if not temperature > 0:
            raise ValueError(f"A sampling temperature is above 0; got {temperature}.")
        if cap is not None and cap < 1:
            raise ValueError(f"A sampling cap is at least 1; got {cap}.")
        p = np.minimum(n, cap if cap is not None else math.inf) ** (1.0 / temperature) * (n > 0)
    elif method == "annealed":
        p = n ** (1.0 - 0.8 * min(max(progress, 0.0), 1.0)) * (n > 0)
    else:
        p = n
    return p / p.sum()


def counts(share: np.ndarray, total: int) -> np.ndarray:
    """Return whole numbers of draws with the sum `total`, nearest to the shares (largest remainders).

    Example:

    >>> counts(np.array([0.5, 0.3, 0.2]), 9).tolist()
    [4, 3, 2]
    """
    exact = share * total
    result = np.floor(exact).astype(np.int64)
    rest = total - int(result.sum())
    by_remainder = np.argsort(-(exact - result), kind="stable")
    result[by_remainder[:rest]] += 1
    return result


def order(size: int, start: int, count: int, seed: Sequence[int], shuffle: bool = True) -> np.ndarray:
    """Return positions `start` to `start + count` of an endless stream of passes over `size` examples.

    Args:
        size: number of examples in the group.
        start: number of earlier draws.
        count: number of draws.
        seed: integers; the order of pass k is a function of them and k.
        shuffle: whether to shuffle each pass.

    Example:

    >>> stream = order(3, 0, 6, [7])
    >>> sorted(stream[:3].tolist()), sorted(stream[3:].tolist()), (order(3, 2, 2, [7]) == stream[2:4]).all().item()
    ([0, 1, 2], [0, 1, 2], True)
    """
    parts = []
    while count > 0:
        number, offset = divmod(start, size)
        take = min(size - offset, count)
        whole = np.random.default_rng([*seed, number]).permutation(size) if shuffle else np.arange(size)
        parts.append(whole[offset : offset + take])
        start, count = start + take, count - take
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def as_weights(names: Sequence[str], groups: Sequence[Sequence[str]], weights: Mapping[str, float]) -> list[float]:
    """Convert weights of tasks to weights of groups; a group's weight is the sum of its tasks' weights."""
    for name in weights:
        if name not in names:
            raise unknown_name("task in the sampling weights", name, names)
    for name in names:
        if name not in weights:
            raise ValueError(
                f"Sampling by weights expects one for each task; '{name}' has none. Give it one, 0 to never draw it."
            )
    return [sum(weights[name] for name in group) for group in groups]
