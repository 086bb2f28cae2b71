"""Choice of the tasks to train together."""

from collections.abc import Iterator
from itertools import combinations

import numpy as np

__all__ = ["group_tasks"]

#: Largest number of tasks for which all groupings are tried: 115,975 groupings for 10 tasks.
_ALL = 10


def group_tasks(affinities: np.ndarray, most: int | None = None) -> list[list[int]]:
    """Return the groups of tasks that maximise the sum of the affinities within groups.

    Up to 10 tasks, all groupings are tried. For more tasks, the two groups with the largest gain are merged repeatedly.

    Args:
        affinities: `[K, K]`, the benefit of task i to task j; the diagonal is ignored, and NaN counts 0.
        most: maximal number of groups; None for any number.

    Returns:
        The groups, each in the order of the tasks.

    Raises:
        ValueError: `most` is below 1.

    Example:

    >>> import numpy as np
    >>> group_tasks(np.array([[0.0, 0.2, -0.1], [0.1, 0.0, -0.3], [0.0, -0.2, 0.0]]))
    [[0, 1], [2]]
    """
    if most is not None and most < 1:
        raise ValueError(f"Expected at least 1 group; got {most}.")
    gains = np.nan_to_num(np.asarray(affinities, dtype=float))
    np.fill_diagonal(gains, 0.0)
    gains = gains + gains.T
    count = len(gains)
    limit = count if most is None else min(most, count)

    def gain(group: list[int]) -> float:
        return float(gains[np.ix_(group, group)].sum() / 2)

    if count <= _ALL:
        best = max(_partitions(count, limit), key=lambda groups: (sum(map(gain, groups)), len(groups)))
        return sorted(best)
    groups = [[task] for task in range(count)]
    while len(groups) > 1:
        added, a, b = max((float(gains[np.ix_(x, y)].sum()), i, j) for (i, x), (j, y) in combinations(enumerate(groups), 2))
        if added <= 0 and len(groups) <= limit:
            break
        groups[a] = sorted(groups[a] + groups.pop(b))
    return sorted(groups)


def _partitions(count: int, most: int) -> Iterator[list[list[int]]]:
    """Yield all partitions of the tasks 0 to `count - 1` into at most `most` groups."""

    def extend(groups: list[list[int]], task: int) -> Iterator[list[list[int]]]:
        if task == count:
            yield [list(group) for group in groups]
            return
        for group in groups:
            group.append(task)
            yield from extend(groups, task + 1)
            group.pop()
        if len(groups) < most:
            groups.append([task])
            yield from extend(groups, task + 1)
            groups.pop()

    return extend([], 0)
