"""Tokenized examples on disk: written once, read at random."""

import hashlib
import json
import logging
import os
import shutil
import tempfile
import uuid
import weakref
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from mtl.data.encoding import Encoding, encode_examples
from mtl.data.example import Example, split_words
from mtl.data.source import Source

__all__ = ["Store", "prepare"]

CHUNK = 1000
FORMAT = 2

logger = logging.getLogger(__name__)

Encoded = tuple[list[Example], list[Encoding]]


class _Column:
    """Values of one kind, appended to a file, many at a time."""

    def __init__(self, files: ExitStack, folder: Path, name: str, dtype: str, width: int):
        self.dtype, self.width = np.dtype(dtype), width
        self.file = files.enter_context(open(folder / f"{name}.bin", "wb"))

    def write(self, values: Sequence[Any] | np.ndarray) -> None:
        """Appends numbers, or arrays one after the other."""
        joined = np.array(values) if np.isscalar(values[0]) else np.concatenate(values, axis=None)
        self.file.write(joined.astype(self.dtype, copy=False).tobytes())


class Store:
    """Examples of one source and split as tokens and targets, memory-mapped.

    Args:
        folder: where `prepare` wrote them.

    Raises:
        OSError, ValueError: a file is missing, or is not as it was written.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        meta = json.loads((folder / "store.json").read_text("utf-8"))
        self._columns = {}
        for name, column in meta["columns"].items():
            path, dtype = folder / f"{name}.bin", np.dtype(column["dtype"])
            if (size := os.path.getsize(path)) != column["bytes"]:
                raise ValueError(f"{path}: expected {column['bytes']} bytes, got {size}; remove the folder {folder}.")
            if size == 0:
                flat = np.zeros(0, dtype)
            else:
                flat = np.memmap(path, dtype, "r")
            self._columns[name] = flat if column["width"] == 1 else flat.reshape(-1, column["width"])
        self.truncated: int = meta["truncated"]
        self.starts = self._columns["starts"]
        self.lengths = self._columns["lengths"]

    def __len__(self) -> int:
        return len(self.lengths)

    @cached_property
    def digest(self) -> int:
        """A number that other rows do not have, but by chance: of the lengths, and of a megabyte of each column."""
        total = zlib.crc32(self.lengths.tobytes())
        for name, column in sorted(self._columns.items()):
            some = column[: 2**20 // max(1, column[:1].nbytes)]
            total = zlib.crc32(some.tobytes(), zlib.crc32(name.encode(), total))
        return total

    def labelled(self, task: str) -> np.ndarray:
        """Rows that carry a label for a task: bool `[N]`."""
        return self._columns[f"has.{task}"] > 0

    def fixed(self, name: str, rows: np.ndarray) -> np.ndarray:
        """A column with one value a row, at some rows."""
        return np.asarray(self._columns[name][rows])

    def tokens(self, name: str, rows: np.ndarray, length: int, filler: int = 0) -> np.ndarray:
        """A column with one value a token, at some rows, cut or filled to a length: `[rows, length]`."""
        position = np.arange(length)
        inside = position < self.lengths[rows][:, None]
        index = np.where(inside, self.starts[rows][:, None] + position, 0)
        flat = self._columns[name]
        return np.where(inside, flat[index] if len(flat) else 0, filler).astype(flat.dtype)


def prepare(
    source: Source,
    split: str,
    tasks: Sequence[Any],
    encoder: Any,
    max_length: int | None,
    cache_dir: str | os.PathLike | None,
    words: bool = False,
) -> Store:
    """Tokenizes a split of a source and encodes its labels, or finds that done by an earlier call.

    Args:
        source: the source.
        split: one of its splits.
        tasks: the tasks that it feeds.
        encoder: an encoder with a tokenizer.
        max_length: tokens kept of an example; None for all.
        cache_dir: a folder to keep the result in for later runs; None for a temporary one.
        words: whether to mark the first token of each word, though no task among `tasks` needs it.

    Returns:
        The store. It is found again when the source's fingerprint, the tokenizer, the length and what
        the tasks' heads encode by are the same.
    """
    from mtl.version import __version__

    words = words or any(task.head.needs_word_mask for task in tasks)
    folder = None
    if cache_dir is not None and source.fingerprint is not None:
        identity = [
            (FORMAT, __version__, source.fingerprint, split, encoder.tokenizer.fingerprint, max_length, words),
            [(task.name, task.label_in(source), type(task.head).__name__, _settings(task.head)) for task in tasks],
        ]
        key = hashlib.blake2b(json.dumps(identity, sort_keys=True, default=repr).encode(), digest_size=16).hexdigest()
        folder = Path(cache_dir) / key
        if (found := _found(folder)) is not None:
            return found
    parent = folder.parent if folder else Path(tempfile.gettempdir())
    parent.mkdir(parents=True, exist_ok=True)
    working = parent / f".writing-{uuid.uuid4().hex}"
    working.mkdir()
    try:
        _write(working, source, split, tasks, encoder, max_length, words)
        if folder:
            try:
                os.replace(working, folder)
            except OSError:
                if not (folder / "store.json").exists():
                    raise
                shutil.rmtree(working)  # Another process was first; what it wrote is the same.
            return Store(folder)
    except BaseException:
        shutil.rmtree(working, ignore_errors=True)
        raise
    store = Store(working)
    weakref.finalize(store, shutil.rmtree, working, ignore_errors=True)
    return store


def _found(folder: Path) -> Store | None:
    """What an earlier call wrote; it is removed where a machine that went down left a part of it."""
    if not folder.exists():
        return None
    try:
        return Store(folder)
    except (OSError, ValueError, KeyError) as error:
        logger.warning("%s is damaged (%s), and is made anew.", folder, error)
        shutil.rmtree(folder, ignore_errors=True)
        return None


def _settings(head: Any) -> dict[str, Any]:
    """What a head's targets depend on. A label's number is its place, so that the order of labels counts."""
    config = head.get_config()
    names = head.cache_key if head.cache_key is not None else config.keys() - {"name", "dtype", "trainable"}
    return {name: config[name] for name in names}


def _chunks(examples: Iterator[Example], size: int) -> Iterator[list[Example]]:
    while chunk := list(islice(examples, size)):
        yield chunk


def _write(
    folder: Path, source: Source, split: str, tasks: Sequence[Any], encoder: Any, max_length: int | None, words: bool
) -> None:
    kinds: dict[str, tuple[str, int]] = {
        "starts": ("int64", 1),
        "lengths": ("int32", 1),
        "token_ids": ("int32", 1),
        "segment_ids": ("int8", 1),
    }
    if words:
        kinds["word_mask"] = ("int8", 1)
    for task in tasks:
        target = task.head.target
        kinds[f"y.{task.name}"] = (target.dtype, 1 if target.per_token else int(np.prod(target.shape, dtype=int)))
        kinds[f"w.{task.name}"] = ("float32", 1)
        kinds[f"has.{task.name}"] = ("int8", 1)
    with ExitStack() as files:
        columns = {name: _Column(files, folder, name, *kind) for name, kind in kinds.items()}
        truncated = _fill(columns, source, split, tasks, encoder, max_length)
        described = {name: {"dtype": c.dtype.str, "width": c.width, "bytes": c.file.tell()} for name, c in columns.items()}
        meta = files.enter_context(open(folder / "store.json", "wb"))
        meta.write(json.dumps({"columns": described, "truncated": truncated}).encode())
        for file in (*(column.file for column in columns.values()), meta):  # On the disk before the folder gets its name.
            file.flush()
            os.fsync(file.fileno())


def _fill(
    columns: dict[str, _Column], source: Source, split: str, tasks: Sequence[Any], encoder: Any, max_length: int | None
) -> int:
    """Writes the examples; returns how many were truncated."""
    words = "word_mask" in columns
    offsets = words or any(task.head.needs_offsets for task in tasks)
    tokens = rows = truncated = 0
    for chunk, encodings in _encoded(source.examples(split), encoder.tokenizer, max_length, offsets):
        lengths = np.array([len(encoding) for encoding in encodings])
        columns["starts"].write(tokens + np.cumsum(lengths) - lengths)
        columns["lengths"].write(lengths)
        columns["token_ids"].write([encoding.token_ids for encoding in encodings])
        columns["segment_ids"].write([encoding.segment_ids for encoding in encodings])
        if words:
            columns["word_mask"].write([word_mask(*each) for each in zip(chunk, encodings, strict=True)])
        for task in tasks:
            targets, weights = _targets(task, source, chunk, encodings, f"source '{source.name}', split '{split}'", rows)
            columns[f"y.{task.name}"].write(targets)
            columns[f"w.{task.name}"].write(weights)
            columns[f"has.{task.name}"].write([np.any(each) if isinstance(each, np.ndarray) else each > 0 for each in weights])
        tokens += int(lengths.sum())
        rows += len(chunk)
        truncated += sum(encoding.truncated for encoding in encodings)
    return truncated


def _targets(
    task: Any, source: Source, examples: list[Example], encodings: list[Encoding], place: str, before: int
) -> tuple[list[Any], list[Any]]:
    """A task's targets of some examples, and their weights: 0 where an example is not labelled.

    Args:
        place: what an example without a place of its own is said to be in, `before` others being before the first.
    """
    head, targets, weights = task.head, [], []
    for number, (example, encoding) in enumerate(zip(examples, encodings, strict=True), before + 1):
        value = task.value(example, source)
        target: Any
        weight: Any
        if value is None:
            shape = (len(encoding),) if head.target.per_token else head.target.shape
            target, weight = np.zeros(shape), np.zeros(shape) if head.target.per_token else 0.0
        else:
            try:
                target, weight = head.encode(value, example, encoding)
            except (ValueError, TypeError) as error:
                where = example.place or f"{place}, example {number}"
                raise ValueError(f"{where}: task '{task.name}': {error}") from error
        targets.append(target)
        weights.append(weight)
    return targets, weights


def _encoded(examples: Iterator[Example], tokenizer: Any, max_length: int | None, offsets: bool) -> Iterator[Encoded]:
    """Chunks of examples with their tokens; while one is used and another read, one is tokenized."""
    waiting: deque[tuple[list[Example], Future[list[Encoding]]]] = deque()
    with ThreadPoolExecutor(1) as beside:
        for chunk in _chunks(examples, CHUNK):
            waiting.append((chunk, beside.submit(encode_examples, chunk, tokenizer, max_length, offsets)))
            if len(waiting) == 2:
                chunk, found = waiting.popleft()
                yield chunk, found.result()
        for chunk, found in waiting:
            yield chunk, found.result()


def word_mask(example: Example, encoding: Encoding) -> np.ndarray:
    """1 at the first token of each word of the first text, 0 elsewhere: int8 `[S]`."""
    spans = example.words if example.words is not None else split_words(example.text)
    result = np.zeros(len(encoding), np.int8)
    first = encoding.first_tokens(spans)
    result[first[first >= 0]] = 1
    return result
