"""Few padded lengths with little padding."""

import numpy as np

__all__ = ["choose_buckets"]


def choose_buckets(lengths: np.ndarray, number: int = 8) -> list[int]:
    """The padded lengths that leave the least padding: at most `number` of them, the longest text included.

    Minimises `sum_i (bucket(n_i) - n_i)` exactly, by dynamic programming over the distinct lengths.

    Args:
        lengths: lengths of the examples, in tokens.
        number: how many buckets at most.

    Returns:
        Lengths, ascending.

    Example:

    >>> choose_buckets(np.array([3, 3, 3, 10, 11, 40]), 3)
    [3, 11, 40]
    """
    if len(lengths) == 0:
        return [1]
    values, counts = np.unique(np.maximum(lengths, 1), return_counts=True)
    if len(values) > 512:  # Long texts: lengths within 1/512 of the range are one.
        edges = np.unique(np.linspace(0, len(values) - 1, 512).round().astype(int))
        counts = np.add.reduceat(counts, np.r_[0, edges[:-1] + 1])
        values = values[edges]
    size = len(values)
    cumulative = np.r_[0, np.cumsum(counts)]
    # cost[j] = padded tokens of the best way to cover the values up to j; the bucket that ends at j begins after `cut`.
    cost = values * cumulative[1:]
    cuts = []
    for _ in range(min(number, size) - 1):
        # previous[i] + values[j] * (examples between i and j), for i < j
        candidate = cost[:-1, None] + values[None, :] * (cumulative[None, 1:] - cumulative[1:size, None])
        candidate = np.where(np.arange(size - 1)[:, None] < np.arange(size)[None, :], candidate, np.iinfo(np.int64).max)
        best = candidate.argmin(axis=0)
        new = candidate[best, np.arange(size)]
        better = new < cost
        cuts.append(np.where(better, best, -1))
        cost = np.where(better, new, cost)
    result, end = [], size - 1
    for cut in reversed(cuts):
        if cut[end] >= 0:
            result.append(int(values[end]))
            end = int(cut[end])
    return [int(values[end]), *reversed(result)]
