"""Assignment of rows to batches."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from mtl.data.mixture.buckets import choose_buckets
from mtl.data.mixture.sampling import as_weights, counts, order, shares

__all__ = ["Batch", "Group", "BatchSampler"]


class Batch(NamedTuple):
    """Rows of one batch.

    Args:
        groups: index of each row's group, int32 `[B]`.
        positions: index of each row in its group, int64 `[B]`.
        length: padded length of all rows.
    """

    groups: np.ndarray
    positions: np.ndarray
    length: int


class Group:
    """Rows that the same tasks label; the unit of sampling.

    Args:
        tasks: names of these tasks.
        parts: one entry per store: its number, the indices of its rows, int64 `[n]`, and their lengths in tokens, int32 `[n]`.
    """

    def __init__(self, tasks: Sequence[str], parts: Sequence[tuple[int, np.ndarray, np.ndarray]]):
        self.tasks = tuple(tasks)
        self.name = "+".join(tasks)
        self.stores = [store for store, _, _ in parts]
        self.store_of = np.concatenate([np.full(len(rows), store, np.int32) for store, rows, _ in parts])
        self.row_of = np.concatenate([rows for _, rows, _ in parts])
        self.lengths = np.concatenate([lengths for _, _, lengths in parts])

    def __len__(self) -> int:
        return len(self.row_of)

    def by_store(self, positions: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Yield, for each store, its number, the indices into `positions` that lie in it, and their rows in the store."""
        for store in self.stores:
            chosen = np.flatnonzero(self.store_of[positions] == store)
            if len(chosen):
                yield store, chosen, self.row_of[positions[chosen]]


class BatchSampler:
    """Assignment of rows to batches, a function of the seed and the epoch.

    Args:
        groups: the rows to draw from.
        batch_size: number of rows per batch.
        tasks: names of all tasks.
        sampling, weights, temperature, cap, epochs, mixed, steps, shuffle, seed, buckets, drop_remainder: see `mtl.data.mix`.

    Raises:
        ValueError: if a setting is out of range.

    Example:

    >>> rows = np.arange(5)
    >>> sampler = BatchSampler([Group(["a"], [(0, rows, rows + 1)])], ["a"], batch_size=2, buckets=[3, 5], shuffle=False)
    >>> [(batch.positions.tolist(), batch.length) for batch in sampler.of(0)]
    [([0, 1], 3), ([2, 3], 5), ([4], 5)]
    """

    def __init__(
        self,
        groups: Sequence[Group],
        tasks: Sequence[str],
        *,
        batch_size: int,
        sampling: str = "proportional",
        weights: Mapping[str, float] | None = None,
        temperature: float = 1.0,
        cap: int | None = None,
        epochs: int | None = None,
        mixed: bool = True,
        steps: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        buckets: int | Sequence[int] = 8,
        drop_remainder: bool = False,
    ):
        self.groups, self.batch_size, self.mixed, self.shuffle, self.seed = groups, batch_size, mixed, shuffle, seed
        self.sampling, self.temperature, self.cap, self.epochs = sampling, temperature, cap, epochs
        self.drop_remainder = drop_remainder
        self.sizes = [len(group) for group in groups]
        self._weights = None if weights is None else as_weights(tasks, [group.tasks for group in groups], weights)
        self._rows_per_epoch = sum(self.sizes) if steps is None else steps * batch_size
        if sampling == "annealed" and not epochs:
            raise ValueError("Annealed sampling expects epochs=, the number of passes over which the shares change.")
        if drop_remainder and self._rows_per_epoch < batch_size:
            raise ValueError(
                f"Batches of {batch_size} rows and drop_remainder leave nothing of {self._rows_per_epoch} rows; "
                "give a smaller batch_size."
            )
        self._drawn(0)  # Raise for invalid settings now, not at the first batch.
        self.buckets = _checked_buckets(buckets, np.concatenate([group.lengths for group in groups]))
        self._lock = threading.Lock()
        self._made: dict[int, list[Batch]] = {}

    @cached_property
    def steps_per_epoch(self) -> int:
        """Number of batches per epoch, the same for every epoch."""
        return len(self.of(0))

    def of(self, epoch: int) -> list[Batch]:
        """Return the batches of an epoch; thread-safe. The batches of the latest epochs are cached."""
        with self._lock:
            if epoch not in self._made:
                self._made = {made: batches for made, batches in self._made.items() if made >= epoch - 1}
                self._made[epoch] = self._make(epoch)
            return self._made[epoch]

    def realised(self, epoch: int = 0) -> dict[str, Any]:
        """Return the number of rows and the share of each group in an epoch, and the share of tokens that are padding."""
        batches = self.of(epoch)
        drawn, real = np.zeros(len(self.groups), np.int64), 0
        for batch in batches:
            drawn += np.bincount(batch.groups, minlength=len(self.groups))
            real += int(self._lengths(batch.groups, batch.positions).sum())
        padded = sum(len(batch.groups) * batch.length for batch in batches)
        rows = {group.name: int(count) for group, count in zip(self.groups, drawn, strict=True)}
        return {
            "rows": rows,
            "shares": {name: count / max(1, int(drawn.sum())) for name, count in rows.items()},
            "padding": 1.0 - real / max(1, padded),
        }

    def _drawn(self, epoch: int) -> np.ndarray:
        """Return the number of rows that an epoch draws from each group."""
        if self.sampling == "proportional" and self._rows_per_epoch == sum(self.sizes):
            return np.asarray(self.sizes)
        progress = epoch / max(1, (self.epochs or 1) - 1)
        share = shares(
            self.sizes, self.sampling, weights=self._weights, temperature=self.temperature, cap=self.cap, progress=progress
        )
        if self.mixed:
            return counts(share, self._rows_per_epoch)
        return counts(share, -(-self._rows_per_epoch // self.batch_size)) * self.batch_size

    def _make(self, epoch: int) -> list[Batch]:
        group, position = self._rows(epoch)
        rng = np.random.default_rng([self.seed, 1 << 32, epoch])
        if self.shuffle:
            mixed = rng.permutation(len(group))
            group, position = group[mixed], position[mixed]
        bucket = np.searchsorted(self.buckets, np.maximum(self._lengths(group, position), 1))
        parts = [np.arange(len(group))] if self.mixed else [np.flatnonzero(group == g) for g in range(len(self.groups))]
        batches = [batch for part in parts for batch in self._cut(part, bucket)]
        turn = rng.permutation(len(batches)) if self.shuffle else range(len(batches))
        return [Batch(group[rows], position[rows], self.buckets[b]) for rows, b in (batches[i] for i in turn)]

    def _rows(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return each row's group and position in it; a group continues where the previous epoch stopped."""
        drawn = self._drawn(epoch)
        before = sum((self._drawn(e) for e in range(epoch)), 0 * drawn) if self.shuffle else 0 * drawn
        positions = [
            order(self.sizes[g], int(before[g]), int(count), [self.seed, g], self.shuffle) for g, count in enumerate(drawn)
        ]
        return np.repeat(np.arange(len(drawn), dtype=np.int32), drawn), np.concatenate(positions)

    def _lengths(self, group: np.ndarray, position: np.ndarray) -> np.ndarray:
        result = np.zeros(len(group), np.int32)
        for g in np.unique(group):
            result[group == g] = self.groups[g].lengths[position[group == g]]
        return result

    def _cut(self, part: np.ndarray, bucket: np.ndarray) -> list[tuple[np.ndarray, int]]:
        """Split rows into batches of one bucket each; the remainder of a bucket moves to the next longer one."""
        batches: list[tuple[np.ndarray, int]] = []
        carried = np.zeros(0, np.int64)
        for b in range(len(self.buckets)):
            rows = np.concatenate([carried, part[bucket[part] == b]])
            whole = len(rows) // self.batch_size * self.batch_size
            batches += [(rows[i : i + self.batch_size], b) for i in range(0, whole, self.batch_size)]
            carried = rows[whole:]
        if len(carried) and not self.drop_remainder:
            batches.append((carried, int(bucket[carried].max())))
        return batches


def _checked_buckets(buckets: int | Sequence[int], lengths: np.ndarray) -> list[int]:
    if isinstance(buckets, int):
        return choose_buckets(lengths, buckets)
    result = sorted({int(bucket) for bucket in buckets})
    if not result or result[-1] < lengths.max():
        raise ValueError(
            f"The longest bucket must hold the longest text: {int(lengths.max())} tokens; got buckets {result}. "
            "Add a longer bucket or give max_length."
        )
    return result
