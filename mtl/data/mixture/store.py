"""Tokenized examples on disk: written once, read at random."""

import hashlib
import json
import logging
import os
import shutil
import tempfile
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
from mtl.data.mixture.protocols import LabelEncoder, LabelledTask, TextEncoder
from mtl.data.source import Source
from mtl.utils import brief, read_json, regular_file
from mtl.utils.atomic_write import remove_rests, working_folder

__all__ = ["Store", "prepare"]

CHUNK = 1000
FORMAT = 6

logger = logging.getLogger(__name__)

#: Bytes that `store.json` may have: four values for each column.
LARGEST_META = 2**20

#: Name of each column -> its type, its width, and whether it has one value per token.
Kinds = dict[str, tuple[str, int, bool]]
Encoded = tuple[list[Example], list[Encoding]]


class _Column:
    """Values of one kind, appended to a file, many at a time."""

    def __init__(self, files: ExitStack, folder: Path, name: str, dtype: str):
        self.dtype, self.sum = np.dtype(dtype), 0
        self.file = files.enter_context(open(folder / f"{name}.bin", "wb"))

    def write(self, values: Sequence[Any] | np.ndarray) -> None:
        """Appends numbers, or arrays one after the other."""
        joined = np.array(values) if np.isscalar(values[0]) else np.concatenate(values, axis=None)
        content = joined.astype(self.dtype, copy=False).tobytes()
        self.sum = zlib.crc32(content, self.sum)
        self.file.write(content)


class Store:
    """Examples of one source and split as tokens and targets, memory-mapped.

    Args:
        folder: where `prepare` wrote them.
        kinds: name of each column -> its type, its width, and whether it has one value per token. What the folder says of
            itself is not relied on.
        vocabulary_size: token ids are below it.

    Raises:
        OSError, ValueError: a file is missing, or is not as it was written.
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
        self._columns = {name: _column(folder, name, columns[name], *kind[:2]) for name, kind in kinds.items()}
        self._sums = [columns[name]["crc32"] for name in sorted(kinds)]
        self.truncated: int = truncated
        self.lost: dict[str, int] = meta["lost"]
        self.unknown: dict[str, int] = meta["unknown"]
        self.starts = self._columns["starts"]
        self.lengths = self._columns["lengths"]
        self._check(kinds, vocabulary_size)

    def _check(self, kinds: Kinds, vocabulary_size: int) -> None:
        """Checks that rows and tokens lie where the columns have values, and that these are possible."""
        lengths = self.lengths.astype(np.int64)
        rows, tokens = len(lengths), int(lengths.sum())
        right = (lengths >= 0).all() and np.array_equal(self.starts, np.cumsum(lengths) - lengths)
        right = right and all(len(self._columns[name]) == (tokens if kinds[name][2] else rows) for name in kinds)
        right = right and _within(self._columns["token_ids"], 0, vocabulary_size - 1)
        for name, column in self._columns.items():
            if name.startswith("w."):
                right = right and _within(column, 0, float(np.finfo(np.float32).max))
        if not right:
            raise ValueError(f"{self.folder}: expected {rows} rows of {tokens} tokens; got columns that do not fit together.")

    def __len__(self) -> int:
        return len(self.lengths)

    @cached_property
    def digest(self) -> int:
        """A number that other rows do not have, but by chance."""
        return zlib.crc32(repr((sorted(self._columns), self._sums)).encode())

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


def _described(dtype: str, width: int, size: int, total: int | None) -> dict[str, Any]:
    """What `store.json` says of a column, `total` being the checksum of its file."""
    return {"dtype": np.dtype(dtype).str, "width": width, "bytes": size, "crc32": total}


def _column(folder: Path, name: str, described: Any, dtype: str, width: int) -> np.ndarray:
    """A column's values, `[N]` or `[N, width]`, from its file."""
    path = regular_file(folder / f"{name}.bin")
    size = path.stat().st_size
    total = described.get("crc32") if isinstance(described, dict) else None
    if described != (expected := _described(dtype, width, size, total)) or size % (np.dtype(dtype).itemsize * width):
        raise ValueError(f"{path}: expected {expected}; got {brief(described)}.")
    flat = np.memmap(path, dtype, "r") if size else np.zeros(0, dtype)
    found = 0
    for part in _parts(flat):
        found = zlib.crc32(part.data, found)
    if found != total:
        raise ValueError(f"{path}: expected the checksum {brief(total)}; got {found}.")
    return flat if width == 1 else flat.reshape(-1, width)


def _within(values: np.ndarray, low: float, high: float) -> bool:
    """Whether all values, none of them NaN, lie in a range."""
    return all(bool(part.min() >= low and part.max() <= high) for part in _parts(values.reshape(-1)))


def _parts(flat: np.ndarray) -> Iterator[np.ndarray]:
    """Values, some at a time, for a column may be larger than memory."""
    return (flat[start : start + 2**22] for start in range(0, len(flat), 2**22))


def prepare(
    source: Source,
    split: str,
    tasks: Sequence[LabelledTask],
    encoder: TextEncoder,
    max_length: int | None,
    cache_dir: str | os.PathLike | None,
    masks: Sequence[str] = (),
) -> Store:
    """Tokenizes a split of a source and encodes its labels, or finds that done by an earlier call.

    Args:
        source: the source.
        split: one of its splits.
        tasks: the tasks that it feeds.
        encoder: an encoder with a tokenizer.
        max_length: tokens kept of an example; None for all.
        cache_dir: a folder to keep the result in for later runs; None for a temporary one.
        masks: masks of tokens, keys of `MASKS`, besides those that `tasks` need.

    Returns:
        The store. It is found again when the source's fingerprint, the tokenizer, the length and what
        the tasks' heads encode by are the same.
    """
    from mtl.version import __version__

    masks = sorted({*masks, *(task.head.needs_mask for task in tasks if task.head.needs_mask)})
    kinds = _kinds(tasks, masks)
    size = encoder.tokenizer.vocabulary_size
    folder = None
    if cache_dir is not None and source.fingerprint is not None:
        identity = [
            (FORMAT, __version__, source.fingerprint, split, encoder.tokenizer.fingerprint, max_length, masks),
            [(task.name, task.label_in(source), type(task.head).__name__, _settings(task.head)) for task in tasks],
        ]
        key = hashlib.blake2b(json.dumps(identity, sort_keys=True, default=repr).encode(), digest_size=16).hexdigest()
        folder = Path(cache_dir) / key
        remove_rests(folder.parent)
        if (found := _found(folder, kinds, size)) is not None:
            return found
    parent = folder.parent if folder else Path(tempfile.gettempdir())
    with ExitStack() as held:
        try:
            parent.mkdir(parents=True, exist_ok=True)
            working = held.enter_context(working_folder(parent))
        except OSError as error:
            said = f"Could not write tokenized data to '{parent}': {error.strerror or error}."
            raise OSError(error.errno, f"{said} Set MTL_CACHE_DIR or cache_dir to a folder that can be written.") from error
        _write(working, source, split, tasks, encoder, max_length, kinds)
        if folder:
            try:
                os.replace(working, folder)
            except OSError:
                if not (folder / "store.json").exists():
                    raise
                # Another process was first; what it wrote is the same.
            return Store(folder, kinds, size)
        store = Store(working, kinds, size)
        weakref.finalize(store, held.pop_all().close)
        return store


def _found(folder: Path, kinds: Kinds, vocabulary_size: int) -> Store | None:
    """What an earlier call wrote; it is removed where it is not as it was written."""
    if not os.path.lexists(folder):
        return None
    try:
        return Store(folder, kinds, vocabulary_size)
    except (OSError, ValueError) as error:
        logger.warning("%s is damaged (%s), and is made anew.", folder, error)
        if folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder, ignore_errors=True)
        else:
            folder.unlink(missing_ok=True)
        return None


def _kinds(tasks: Sequence[LabelledTask], masks: Sequence[str]) -> Kinds:
    """Name of each column -> its type, its width, and whether it has one value per token."""
    kinds: Kinds = {
        "starts": ("int64", 1, False),
        "lengths": ("int32", 1, False),
        "token_ids": ("int32", 1, True),
        "segment_ids": ("int8", 1, True),
    }
    kinds.update(dict.fromkeys(masks, ("int8", 1, True)))
    for task in tasks:
        target = task.head.target
        width = 1 if target.per_token else int(np.prod(target.shape, dtype=int))
        kinds[f"y.{task.name}"] = (np.dtype(target.dtype).name, width, target.per_token)
        kinds[f"w.{task.name}"] = ("float32", 1, target.per_token)
        kinds[f"has.{task.name}"] = ("int8", 1, False)
    return kinds


def _settings(head: LabelEncoder) -> dict[str, Any]:
    """What a head's targets depend on. A label's number is its place, so that the order of labels counts."""
    config = head.get_config()
    names = head.cache_key if head.cache_key is not None else config.keys() - {"name", "dtype", "trainable"}
    return {name: config[name] for name in names}


def _chunks(examples: Iterator[Example], size: int) -> Iterator[list[Example]]:
    while chunk := list(islice(examples, size)):
        yield chunk


def _write(
    folder: Path,
    source: Source,
    split: str,
    tasks: Sequence[LabelledTask],
    encoder: TextEncoder,
    max_length: int | None,
    kinds: Kinds,
) -> None:
    with ExitStack() as files:
        columns = {name: _Column(files, folder, name, dtype) for name, (dtype, _, _) in kinds.items()}
        truncated, lost, unknown = _fill(columns, source, split, tasks, encoder, max_length)
        described = {name: _described(*kinds[name][:2], column.file.tell(), column.sum) for name, column in columns.items()}
        meta = files.enter_context(open(folder / "store.json", "wb"))
        meta.write(json.dumps({"columns": described, "truncated": truncated, "lost": lost, "unknown": unknown}).encode())
        for file in (*(column.file for column in columns.values()), meta):  # On the disk before the folder gets its name.
            file.flush()
            os.fsync(file.fileno())


def _fill(
    columns: dict[str, _Column],
    source: Source,
    split: str,
    tasks: Sequence[LabelledTask],
    encoder: TextEncoder,
    max_length: int | None,
) -> tuple[int, dict[str, int], dict[str, int]]:
    """Write the examples.

    Returns:
        How many were truncated, how many of each task's labels tokens cannot express, and how many its head does not know.
    """
    masks = [name for name in MASKS if name in columns]
    offsets = bool(masks) or any(task.head.needs_offsets for task in tasks)
    tokens = rows = truncated = 0
    lost, unknown = {task.name: 0 for task in tasks}, {task.name: 0 for task in tasks}
    for chunk, encodings in _encoded(source.examples(split), encoder.tokenizer, max_length, offsets):
        lengths = np.array([len(encoding) for encoding in encodings])
        columns["starts"].write(tokens + np.cumsum(lengths) - lengths)
        columns["lengths"].write(lengths)
        columns["token_ids"].write([encoding.token_ids for encoding in encodings])
        columns["segment_ids"].write([encoding.segment_ids for encoding in encodings])
        for name in masks:
            columns[name].write([MASKS[name](*pair) for pair in zip(chunk, encodings, strict=True)])
        for task in tasks:
            targets, weights, unread = _targets(task, source, chunk, encodings, f"source '{source.name}', split '{split}'", rows)
            lost[task.name] += unread
            if getattr(task.head, "unknown", None) == "ignore":
                values = [task.value(example, source) for example in chunk]
                unknown[task.name] += sum(task.head.known(value)[1] for value in values if value is not None)
            columns[f"y.{task.name}"].write(targets)
            columns[f"w.{task.name}"].write(weights)
            columns[f"has.{task.name}"].write([np.any(each) if isinstance(each, np.ndarray) else each > 0 for each in weights])
        tokens += int(lengths.sum())
        rows += len(chunk)
        truncated += sum(encoding.truncated for encoding in encodings)
    return truncated, lost, unknown


def _targets(
    task: LabelledTask, source: Source, examples: list[Example], encodings: list[Encoding], place: str, before: int
) -> tuple[list[Any], list[Any], int]:
    """A task's targets of some examples, their weights, times the examples' own (0 where an example is not labelled), and how
    many labels are lost.

    Args:
        place: what an example without a place of its own is said to be in, `before` others being before the first.
    """
    head, targets, weights, lost = task.head, [], [], 0
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
                lost += head.lost(value, example, encoding, target)
            except (ValueError, TypeError) as error:
                where = example.place or f"{place}, example {number}"
                raise ValueError(f"{where}: task '{task.name}': {error}") from error
        targets.append(target)
        weights.append(weight * example.weight)
    return targets, weights, lost


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
    """1 at the tokens at which words of the first text are read, 0 elsewhere: int8 `[S]`."""
    spans = example.words if example.words is not None else split_words(example.text)
    result = np.zeros(len(encoding), np.int8)
    first = encoding.word_tokens(spans)
    result[first[first >= 0]] = 1
    return result


def token_mask(example: Example, encoding: Encoding) -> np.ndarray:
    """1 at the tokens of the first text that cover characters which no earlier token covers, 0 elsewhere: int8 `[S]`."""
    result = np.zeros(len(encoding), np.int8)
    result[encoding.own_characters()[0]] = 1
    return result


#: Input -> the function that makes it of an example and its tokens; a head says which it needs.
MASKS = {"word_mask": word_mask, "token_mask": token_mask}
