"""Tokenizing examples, encoding their labels, and writing both to disk."""

import hashlib
import json
import logging
import os
import shutil
import tempfile
import weakref
import zlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from mtl.data.columns import Axes, Column, columns_of, made_from_texts, padded_shape, row_values
from mtl.data.encoding import Encoding, encode_examples
from mtl.data.example import Example
from mtl.data.mixture.protocols import LabelEncoder, LabelledTask, TextEncoder
from mtl.data.mixture.store import Kinds, Store, describe
from mtl.data.source import Source
from mtl.utils.atomic_write import remove_rests, working_folder

__all__ = ["prepare"]

CHUNK = 1000
FORMAT = 7

logger = logging.getLogger(__name__)

Encoded = tuple[list[Example], list[Encoding]]


def prepare(
    source: Source,
    split: str,
    tasks: Sequence[LabelledTask],
    encoder: TextEncoder,
    max_length: int | None,
    cache_dir: str | os.PathLike | None,
    columns: Mapping[str, Column] | None = None,
) -> Store:
    """Tokenize a split of a source and encode its labels, or reuse the result of an earlier call.

    Args:
        source: the source.
        split: one of its splits.
        tasks: the tasks that read the source.
        encoder: an encoder with a tokenizer.
        max_length: maximum number of tokens of an example; None for no limit.
        cache_dir: folder to keep the result in for later runs; None for a temporary one.
        columns: columns of the mixture; None for those of the encoder and the tasks' heads.

    Returns:
        The store. A stored result is reused when the source's fingerprint, the tokenizer, the length and the settings that the
        tasks' heads encode with are the same.
    """
    from mtl.version import __version__

    columns = columns_of(encoder, [task.head for task in tasks]) if columns is None else columns
    made = made_from_texts(columns)
    kinds = _kinds(tasks, made)
    size = encoder.tokenizer.vocabulary_size
    folder = None
    if cache_dir is not None and source.fingerprint is not None:
        identity = [
            (FORMAT, __version__, source.fingerprint, split, encoder.tokenizer.fingerprint, max_length),
            [column.identity for column in made],
            [
                (task.name, task.label_in(source), task.label_of(source), type(task.head).__name__, _settings(task.head))
                for task in tasks
            ],
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
        _write(working, source, split, tasks, encoder, max_length, made, kinds)
        if folder:
            try:
                os.replace(working, folder)
            except OSError:
                if not (folder / "store.json").exists():
                    raise
                # Another process finished first and wrote the same content.
            return Store(folder, kinds, size)
        store = Store(working, kinds, size)
        weakref.finalize(store, held.pop_all().close)
        return store


def _found(folder: Path, kinds: Kinds, vocabulary_size: int) -> Store | None:
    """Return the store of an earlier call; a damaged one is removed."""
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


def _kinds(tasks: Sequence[LabelledTask], columns: Sequence[Column]) -> Kinds:
    """Return each column's type on disk and axes, by name."""
    kinds: Kinds = {column.name: (column.stored_dtype or column.dtype, column.axes) for column in columns}
    for task in tasks:
        target = task.head.target
        kinds[f"y.{task.name}"] = (np.dtype(target.dtype).name, target.axes)
        kinds[f"w.{task.name}"] = ("float32", target.weight_axes)
        kinds[f"has.{task.name}"] = ("int8", ())
    named = dict.fromkeys(axis for _, axes in kinds.values() for axis in axes if isinstance(axis, str))
    return {**{f"length.{axis}": ("int32", ()) for axis in ("tokens", *named)}, **kinds}


def _settings(head: LabelEncoder) -> dict[str, Any]:
    """Return the settings that a head's targets depend on; the order of labels is one of them, since it gives their ids."""
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
    columns: Sequence[Column],
    kinds: Kinds,
) -> None:
    with ExitStack() as files:
        written = {name: _File(files, folder, name, dtype) for name, (dtype, _) in kinds.items()}
        counts = _fill(written, source, split, tasks, encoder, max_length, columns)
        described = {name: describe(*kinds[name], file.file.tell(), file.sum) for name, file in written.items()}
        meta = files.enter_context(open(folder / "store.json", "wb"))
        meta.write(json.dumps({"columns": described, **counts}).encode())
        for file in (*(file.file for file in written.values()), meta):  # Flush to disk before the folder gets its name.
            file.flush()
            os.fsync(file.fileno())


def _fill(
    files: dict[str, "_File"],
    source: Source,
    split: str,
    tasks: Sequence[LabelledTask],
    encoder: TextEncoder,
    max_length: int | None,
    columns: Sequence[Column],
) -> dict[str, Any]:
    """Write the examples.

    Returns:
        Number of texts that were `truncated`; per task, number of labels that tokens cannot express (`lost`) and number of
        labels that its head does not know (`unknown`).
    """
    offsets = any(column.reads_offsets for column in columns) or any(task.head.needs_offsets for task in tasks)
    rows = truncated = 0
    lost, unknown = {task.name: 0 for task in tasks}, {task.name: 0 for task in tasks}
    for chunk, encodings in _encoded(source.examples(split), encoder.tokenizer, max_length, offsets):
        lengths = [{"tokens": len(encoding)} for encoding in encodings]
        for column in columns:
            values = [row_values(column, *row) for row in zip(chunk, encodings, lengths, strict=True)]
            if column.axes != ("tokens",):
                for row, sizes, example in zip(values, lengths, chunk, strict=True):
                    _measure(column.axes, row, sizes, f"column '{column.name}'", example.place)
            files[column.name].write(values)
        found = []
        for task in tasks:
            place = f"source '{source.name}', split '{split}'"
            targets, weights, unread = _targets(task, source, chunk, encodings, lengths, place, rows)
            lost[task.name] += unread
            if getattr(task.head, "unknown", None) == "ignore":
                labels = [task.value(example, source) for example in chunk]
                unknown[task.name] += sum(task.head.known(label)[1] for label in labels if label is not None)
            found.append((task, targets, weights))
        for task, targets, weights in found:  # The axes of a row without a label are as long as other tasks' labels say.
            files[f"y.{task.name}"].write(_filled(targets, task.head.target.axes, lengths))
            files[f"w.{task.name}"].write(_filled(weights, task.head.target.weight_axes, lengths))
            files[f"has.{task.name}"].write([weight is not None and bool(np.any(np.asarray(weight) > 0)) for weight in weights])
        for name, file in files.items():
            if name.startswith("length."):
                file.write([sizes.get(name.removeprefix("length."), 0) for sizes in lengths])
        rows += len(chunk)
        truncated += sum(encoding.truncated for encoding in encodings)
    return {"truncated": truncated, "lost": lost, "unknown": unknown}


def _measure(axes: Axes, values: np.ndarray, lengths: dict[str, int], what: str, place: str | None) -> None:
    """Compare the shape of one row's values with its axes, and record the lengths of axes not seen before."""
    shape = np.shape(values)
    if len(shape) == len(axes):
        named = [(axis, size) for axis, size in zip(axes, shape, strict=True) if isinstance(axis, str)]
        for axis, size in named:
            lengths.setdefault(axis, size)
    if shape != (expected := tuple(lengths.get(axis) if isinstance(axis, str) else axis for axis in axes)):
        where = f"{place}: " if place else ""
        raise ValueError(f"{where}{what} expects values of the axes {list(axes)}, {expected}; got the shape {shape}.")


def _targets(
    task: LabelledTask,
    source: Source,
    examples: list[Example],
    encodings: list[Encoding],
    lengths: list[dict[str, int]],
    place: str,
    before: int,
) -> tuple[list[Any], list[Any], int]:
    """Return a task's targets, their weights times the examples' weights (both None for an unlabelled example), and the number
    of lost labels.

    Args:
        lengths: lengths of each example's axes; axes that only targets have are added.
        place: name used in errors for an example without a place; `before` is the number of examples before the first.
    """
    head, kind = task.head, task.head.target
    targets: list[Any] = []
    weights: list[Any] = []
    lost = 0
    rows = zip(examples, encodings, lengths, strict=True)
    for number, (example, encoding, sizes) in enumerate(rows, before + 1):
        value = task.value(example, source)
        if value is None:
            targets.append(None)
            weights.append(None)
            continue
        try:
            target, weight = head.encode(value, example, encoding)
            _measure(kind.axes, target, sizes, "its target", None)
            if kind.weight_axes and not np.shape(weight):
                weight = np.full(padded_shape(kind.weight_axes, sizes), weight)
            _measure(kind.weight_axes, weight, sizes, "the weight of its target", None)
            lost += head.lost(value, example, encoding, target)
        except (ValueError, TypeError) as error:
            where = example.place or f"{place}, example {number}"
            raise ValueError(f"{where}: task '{task.name}': {error}") from error
        targets.append(target)
        weights.append(weight * example.weight)
    return targets, weights, lost


def _filled(values: Sequence[Any], axes: Axes, lengths: Sequence[Mapping[str, int]]) -> list[Any]:
    """Return the values of each row, and zeros where it has none; an axis that nothing in the row has is of length 0."""
    filled = []
    for value, sizes in zip(values, lengths, strict=True):
        if value is None:
            value = np.zeros([sizes.get(axis, 0) if isinstance(axis, str) else axis for axis in axes]) if axes else 0.0
        filled.append(value)
    return filled


class _File:
    """File of one column, to which values are appended in chunks."""

    def __init__(self, files: ExitStack, folder: Path, name: str, dtype: str):
        self.dtype, self.sum = np.dtype(dtype), 0
        self.file = files.enter_context(open(folder / f"{name}.bin", "wb"))

    def write(self, values: Sequence[Any] | np.ndarray) -> None:
        """Append numbers, or the flattened values of arrays."""
        joined = np.array(values) if np.isscalar(values[0]) else np.concatenate(values, axis=None)
        content = joined.astype(self.dtype, copy=False).tobytes()
        self.sum = zlib.crc32(content, self.sum)
        self.file.write(content)


def _encoded(examples: Iterator[Example], tokenizer: Any, max_length: int | None, offsets: bool) -> Iterator[Encoded]:
    """Yield chunks of examples with their encodings; the next chunk is tokenized in another thread meanwhile."""
    waiting: deque[tuple[list[Example], Future[list[Encoding]]]] = deque()
    with ThreadPoolExecutor(1) as beside:
        for chunk in _chunks(examples, CHUNK):
            waiting.append((chunk, beside.submit(encode_examples, chunk, tokenizer, max_length, offsets)))
            if len(waiting) == 2:
                chunk, found = waiting.popleft()
                yield chunk, found.result()
        for chunk, found in waiting:
            yield chunk, found.result()
