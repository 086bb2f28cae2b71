"""Choice of padded lengths."""

import numpy as np

__all__ = ["choose_buckets"]


def choose_buckets(lengths: np.ndarray, number: int = 8) -> list[int]:
    """Return the padded lengths that need the least padding: at most `number` of them, including the longest text's.

    Minimises `sum_i (bucket(n_i) - n_i)` exactly, by dynamic programming over the distinct lengths.

    Args:
        lengths: lengths of the examples, in tokens.
        number: maximum number of buckets.

    Returns:
        Padded lengths, ascending.

    Example:

    >>> choose_buckets(np.array([3, 3, 3, 10, 11, 40]), 3)
    [3, 11, 40]
    """
    if len(lengths) == 0:
        return [1]
    values, counts = np.unique(np.maximum(lengths, 1), return_counts=True)
    if len(values) > 512:  # Long texts: lengths within 1/512 of the range are treated as equal.
        edges = np.unique(np.linspace(0, len(values) - 1, 512).round().astype(int))
        counts = np.add.reduceat(counts, np.r_[0, edges[:-1] + 1])
        values = values[edges]
    size = len(values)
    cumulative = np.r_[0, np.cumsum(counts)]
    # cost[j]: padded tokens of the best cover of the values up to j; the bucket that ends at j begins after `cut`.
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
