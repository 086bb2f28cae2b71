"""Snapshots of a training on disk: arrays and plain data, whole or not there at all."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Snapshot", "newest", "write"]

#: What is in the name of every snapshot.
MARK = "step-"
ARRAYS, STATE, SUM = "arrays.npz", "state.json", "sha256"


class Snapshot(NamedTuple):
    """What `write` wrote.

    Args:
        name: of its folder.
        arrays: by name.
        state: plain data.
    """

    name: str
    arrays: dict[str, np.ndarray]
    state: dict[str, Any]


def write(folder: Path, name: str, arrays: Mapping[str, np.ndarray], state: Mapping[str, Any], keep: int) -> None:
    """Writes a snapshot beside the others, under its name only when it is whole on the disk; then removes all but the last.

    Args:
        folder: the folder of all snapshots.
        name: the snapshot's, like `epoch-2-step-1`; the last by name is the newest.
        arrays: by name.
        state: what JSON can hold.
        keep: how many snapshots stay.

    Raises:
        OSError: the disk is full, or the folder cannot be written. The snapshots before stay.

    Example:

    >>> write(Path("run"), "step-1", {"weight": np.ones(2)}, {"epoch": 3}, keep=2)
    >>> newest(Path("run"))[0].state
    {'epoch': 3}
    """
    beside = folder / f".writing-{name}"
    try:
        beside.mkdir(parents=True, exist_ok=True)
        with open(beside / ARRAYS, "wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
            _to_disk(file)
        with open(beside / STATE, "w", encoding="utf-8") as text:
            json.dump(state, text)
            _to_disk(text)
        with open(beside / SUM, "w", encoding="utf-8") as text:
            text.write(_sum(beside))
            _to_disk(text)
        shutil.rmtree(folder / name, ignore_errors=True)
        os.replace(beside, folder / name)
    except OSError as error:
        shutil.rmtree(beside, ignore_errors=True)
        last = next(reversed(_names(folder)), None)
        stays = f"The last one, '{folder / last}', stays" if last else "There is none before it"
        reason = error.strerror or error
        raise OSError(
            error.errno, f"Could not write a checkpoint to '{folder}': {reason}. {stays}; make room and start again."
        ) from error
    for old in _names(folder)[:-keep]:
        shutil.rmtree(folder / old, ignore_errors=True)


def newest(folder: Path) -> tuple[Snapshot | None, list[str]]:
    """The newest snapshot that is whole, None where there is none; and the names of newer ones that are torn."""
    torn: list[str] = []
    for name in reversed(_names(folder)):
        path = folder / name
        with contextlib.suppress(OSError, ValueError, KeyError):
            if (path / SUM).read_text("utf-8") == _sum(path):
                with np.load(path / ARRAYS, allow_pickle=False) as arrays:
                    return Snapshot(name, dict(arrays), json.loads((path / STATE).read_text("utf-8"))), torn
        torn.append(name)
    return None, torn


def _names(folder: Path) -> list[str]:
    """Of the snapshots in a folder, the oldest first; what else is there is somebody's own."""
    return sorted(each.name for each in folder.glob("[!.]*") if MARK in each.name and each.is_dir())


def _sum(path: Path) -> str:
    total = hashlib.sha256()
    for name in (ARRAYS, STATE):
        with open(path / name, "rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def _to_disk(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())
