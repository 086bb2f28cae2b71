"""Snapshots of a training on disk: arrays and plain data, written atomically."""

import contextlib
import hashlib
import json
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mtl.utils.atomic_write import working_folder

__all__ = ["Snapshot", "last_name", "name_of", "newest", "remove", "remove_all", "write"]

#: Exact names of snapshots.
NAME = re.compile(r"epoch-\d{6,}-step-\d{8,}")
#: The files of a snapshot; the last one marks a folder as a snapshot.
ARRAYS, STATE, SUM = "arrays.npz", "state.json", "mtl-checkpoint.sha256"
#: Errors of reading a damaged file.
DAMAGED = (OSError, ValueError, KeyError, TypeError, EOFError, RecursionError, MemoryError, NotImplementedError)


class Snapshot(NamedTuple):
    """Contents of a snapshot.

    Args:
        name: name of its folder.
        arrays: arrays by name.
        state: plain data.
    """

    name: str
    arrays: dict[str, np.ndarray]
    state: dict[str, Any]


def name_of(epoch: int, step: int) -> str:
    """Return the name of the snapshot at an epoch and step; the order of names is that of time."""
    return f"epoch-{epoch:06d}-step-{step:08d}"


def write(folder: Path, name: str, arrays: Mapping[str, np.ndarray], state: Mapping[str, Any], keep: int) -> None:
    """Write a snapshot, which gets its name only once it is complete on disk; then remove all but the last ones.

    Args:
        folder: the folder of all snapshots.
        name: result of `name_of`; the last by name is the newest.
        arrays: arrays by name.
        state: data that JSON can represent.
        keep: number of snapshots to keep.

    Raises:
        OSError: the disk is full, the folder cannot be written, or something else has the name. Earlier snapshots are kept.

    Example:

    >>> write(Path("run"), name_of(0, 1), {"weight": np.ones(2)}, {"epoch": 3}, keep=2)
    >>> newest(Path("run"))[0].state
    {'epoch': 3}
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with working_folder(folder) as beside:
            with open(beside / ARRAYS, "wb") as file:
                np.savez(file, allow_pickle=False, **arrays)
                _to_disk(file)
            with open(beside / STATE, "w", encoding="utf-8") as text:
                json.dump(state, text)
                _to_disk(text)
            with open(beside / SUM, "w", encoding="utf-8") as text:
                text.write(_sum(beside))
                _to_disk(text)
            remove(folder / name)
            os.replace(beside, folder / name)
    except OSError as error:
        last = next(reversed(_names(folder)), None)
        stays = f"The last one, '{folder / last}', stays" if last else "There is none before it"
        reason = error.strerror or error
        raise OSError(
            error.errno, f"Could not write a checkpoint to '{folder}': {reason}. {stays}; make room and start again."
        ) from error
    remove_all(folder, keep)


def newest(folder: Path, check: Callable[[Snapshot], None] = lambda snapshot: None) -> tuple[Snapshot | None, list[str]]:
    """Return the newest undamaged snapshot, or None, and the names of newer ones that are damaged.

    Args:
        folder: the folder of all snapshots.
        check: raises a `ValueError`, `KeyError` or `TypeError` for an unusable snapshot, whatever its checksum.

    Raises:
        NotADirectoryError: the folder is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"Expected a folder of checkpoints; '{folder}' is a file. Move it away, or name another folder.")
    torn: list[str] = []
    for name in reversed(_names(folder)):
        with contextlib.suppress(*DAMAGED, zipfile.BadZipFile, zlib.error):
            if (folder / name / SUM).read_text("utf-8") == _sum(folder / name):
                snapshot = _read(folder / name)
                check(snapshot)
                return snapshot, torn
        torn.append(name)
    return None, torn


def remove(snapshot: Path) -> None:
    """Remove a snapshot's files, the marker last, and then its folder if it is empty."""
    if _marked(snapshot):
        for file in (ARRAYS, STATE, SUM):
            (snapshot / file).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # It is not empty.
            snapshot.rmdir()


def last_name(folder: Path) -> str | None:
    """Return the name of the newest snapshot, damaged or not; None if there is none."""
    return next((name for name in reversed(_names(folder)) if _marked(folder / name)), None)


def remove_all(folder: Path, keep: int = 0) -> None:
    """Remove all snapshots but the newest `keep`, and then the folder around them if it is empty."""
    marked = [name for name in _names(folder) if _marked(folder / name)]
    for name in marked[: max(0, len(marked) - keep)]:
        remove(folder / name)
    with contextlib.suppress(OSError):
        folder.rmdir()


def _names(folder: Path) -> list[str]:
    """Names of the snapshots in a folder, damaged or not, the oldest first."""
    named = [path for path in folder.glob("epoch-*") if NAME.fullmatch(path.name) and path.is_dir()]
    return sorted(path.name for path in named if any((path / file).exists() for file in (ARRAYS, STATE, SUM)))


def _marked(path: Path) -> bool:
    """Return whether a folder is a snapshot, damaged or not, by its name and its marker."""
    return NAME.fullmatch(path.name) is not None and not path.is_symlink() and (path / SUM).is_file()


def _read(path: Path) -> Snapshot:
    with open(path / ARRAYS, "rb") as file, np.load(file, allow_pickle=False) as arrays:
        return Snapshot(path.name, dict(arrays), json.loads((path / STATE).read_text("utf-8")))


def _sum(path: Path) -> str:
    total = hashlib.sha256()
    for name in (ARRAYS, STATE):
        with open(path / name, "rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def _to_disk(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())
