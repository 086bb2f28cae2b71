"""Tokenized examples on disk, with random access."""

import math
import zlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mtl.data.columns import Axes, is_named, padded_shape
from mtl.utils import brief, read_json, regular_file

__all__ = ["Kinds", "Store", "describe"]

#: Maximum size of `store.json` in bytes; it holds four values per column.
LARGEST_META = 2**20

#: Column name -> type on disk and axes.
Kinds = dict[str, tuple[str, Axes]]


class Store:
    """Memory-mapped tokens and targets of one source and split.

    Args:
        folder: folder that `prepare` wrote.
        kinds: column name -> type on disk and axes; the folder's metadata must agree with it.
        vocabulary_size: exclusive upper bound of token ids.

    Raises:
        OSError, ValueError: if a file is missing or damaged.
    """

    def __init__(self, folder: Path, kinds: Kinds, vocabulary_size: int):
        self.folder = folder
        meta = read_json(folder / "store.json", LARGEST_META)
        columns, truncated = meta.get("columns"), meta.get("truncated")
        if type(truncated) is not int or truncated < 0 or not isinstance(columns, dict) or columns.keys() != kinds.keys():
            raise ValueError(f"{folder}: expected the columns {', '.join(kinds)}; got {brief(meta)}.")
        tasks = {name.removeprefix("y.") for name in kinds if name.startswith("y.")}
        for what in ("lost", "unknown"):
            counts = meta.get(what)
            if (
                not isinstance(counts, dict)
                or counts.keys() != tasks
                or not all(type(n) is int and n >= 0 for n in counts.values())
            ):
                raise ValueError(
                    f"{folder}: expected a number of {what} labels for each of {sorted(tasks)}; got {brief(counts)}."
                )
        self._kinds = kinds
        self._columns = {name: _column(folder, name, columns[name], *kind) for name, kind in kinds.items()}
        self._sums = [columns[name]["crc32"] for name in sorted(kinds)]
        self.truncated: int = truncated
        self.lost: dict[str, int] = meta["lost"]
        self.unknown: dict[str, int] = meta["unknown"]
        #: Axis -> its length in each row, int32 `[N]`.
        self.axes = {name.removeprefix("length."): column for name, column in self._columns.items() if name.startswith("length.")}
        self.lengths = self.axes["tokens"]
        self._starts: dict[Axes, np.ndarray] = {}
        self._check(vocabulary_size)

    def _check(self, vocabulary_size: int) -> None:
        """Check that the columns have a value for every row, and that the values are in range."""
        rows = len(self)
        right = all(len(lengths) == rows and (lengths >= 0).all() for lengths in self.axes.values())
        for name, (_, axes) in self._kinds.items():
            right = right and len(self._columns[name]) == (int(self._sizes(axes).sum()) if is_named(axes) else rows)
        right = right and _within(self._columns["token_ids"], 0, vocabulary_size - 1)
        for name, column in self._columns.items():
            if name.startswith("w."):
                right = right and _within(column, 0, float(np.finfo(np.float32).max))
        if not right:
            raise ValueError(f"{self.folder}: expected {rows} rows; got columns that do not fit together.")

    def _sizes(self, axes: Axes) -> np.ndarray:
        """Return the number of values per row along some axes, int64 `[N]`."""
        sizes = np.ones(len(self), np.int64)
        for axis in axes:
            sizes *= self.axes[axis] if isinstance(axis, str) else axis
        return sizes

    def __len__(self) -> int:
        return len(self.lengths)

    @cached_property
    def digest(self) -> int:
        """Checksum that, except by chance, differs for other rows."""
        return zlib.crc32(repr((sorted(self._columns), self._sums)).encode())

    def labelled(self, task: str) -> np.ndarray:
        """Return which rows have a label for a task, bool `[N]`."""
        return self._columns[f"has.{task}"] > 0

    def values(self, name: str, rows: np.ndarray, lengths: Mapping[str, int], filler: float = 0) -> np.ndarray:
        """Return a column's values for some rows, each named axis cut or padded to a length: `[rows, *axes]`."""
        axes, column = self._kinds[name][1], self._columns[name]
        if not is_named(axes):
            return np.asarray(column[rows])
        if axes not in self._starts:
            sizes = self._sizes(axes)
            self._starts[axes] = np.cumsum(sizes) - sizes
        index: Any = 0
        inside: Any = True
        for number, (axis, length) in enumerate(zip(axes, padded_shape(axes, lengths), strict=True)):
            below = (1,) * (len(axes) - 1 - number)
            position = np.arange(length).reshape(-1, *below)
            size: Any = axis
            if isinstance(axis, str):
                size = self.axes[axis][rows].reshape(-1, *(1,) * (number + 1), *below)
                inside = inside & (position < size)
            index = index * size + position
        start = self._starts[axes][rows].reshape(-1, *(1,) * len(axes))
        index = np.where(inside, start + index, 0)
        return np.where(inside, column[index] if len(column) else 0, filler).astype(column.dtype)


def describe(dtype: str, axes: Axes, size: int, total: int | None) -> dict[str, Any]:
    """Return the entry of a column in `store.json`; `total` is the checksum of its file."""
    return {"dtype": np.dtype(dtype).str, "axes": list(axes), "bytes": size, "crc32": total}


def _column(folder: Path, name: str, described: Any, dtype: str, axes: Axes) -> np.ndarray:
    """Return a column's values from its file: flat if an axis is named, else `[N, *axes]`."""
    path = regular_file(folder / f"{name}.bin")
    size, width = path.stat().st_size, 1 if is_named(axes) else math.prod(map(int, axes))
    total: Any = described.get("crc32") if isinstance(described, dict) else None
    if described != (expected := describe(dtype, axes, size, total)) or size % (np.dtype(dtype).itemsize * max(1, width)):
        raise ValueError(f"{path}: expected {expected}; got {brief(described)}.")
    flat = np.memmap(path, dtype, "r") if size else np.zeros(0, dtype)
    found = 0
    for part in _parts(flat):
        found = zlib.crc32(part, found)
    if found != total:
        raise ValueError(f"{path}: expected the checksum {brief(total)}; got {found}.")
    return flat if is_named(axes) or not axes else flat.reshape(-1, *map(int, axes))


def _within(values: np.ndarray, low: float, high: float) -> bool:
    """Return whether all values lie in a range; NaN does not."""
    return all(bool(part.min() >= low and part.max() <= high) for part in _parts(values.reshape(-1)))


def _parts(flat: np.ndarray) -> Iterator[Any]:
    """Yield values in chunks, since a column may be larger than memory."""
    return (flat[start : start + 2**22] for start in range(0, len(flat), 2**22))
