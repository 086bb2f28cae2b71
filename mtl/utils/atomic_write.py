"""Files and folders that appear under their names only when they are complete."""

import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["atomic_write", "locked", "made_folder", "remove_rests", "working_folder"]

#: Exact names of the folders that `working_folder` creates.
NAME = re.compile(r"\.writing-[0-9a-f]{32}")
#: Seconds after which a folder that no process has locked is considered abandoned.
OLD = 3600.0


@contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path to write a file to, and move the file to `path` on exit, so that `path` never holds a partial file.

    Args:
        path: path of the file.

    Raises:
        OSError: if the file cannot be written; an existing file is kept, and no part of the new one remains.

    Example:

    >>> with atomic_write("notes.txt") as beside:
    ...     _ = beside.write_text("all of it")
    >>> Path("notes.txt").read_text()
    'all of it'
    """
    path = Path(path)
    try:
        with working_folder(path.parent) as folder:
            yield folder / path.name
            os.replace(folder / path.name, path)
    except OSError as error:
        reason = error.strerror or error
        said = f"Could not write '{path}': {reason}. What was there stays; make room, or give another place."
        raise OSError(error.errno, said) from error


def made_folder(path: str | os.PathLike) -> Path:
    """Return a folder, creating it and its parents if needed.

    Raises:
        OSError: if it cannot be created.
    """
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        said = f"Could not make the folder '{str(path)[:200]}': {error.strerror or error}. Name another that can be written."
        raise OSError(error.errno, said) from error
    return Path(path)


@contextmanager
def working_folder(parent: Path) -> Iterator[Path]:
    """Yield a new folder for incomplete files: locked by this process, and removed on exit.

    Folders that killed processes left in `parent` are removed first.

    Args:
        parent: folder to create it in, on the same disk as the destination of the result.

    Example:

    >>> with working_folder(Path()) as folder:
    ...     _ = (folder / "part").write_text("all of it")
    ...     _ = (folder / "part").rename("whole")
    >>> Path("whole").read_text(), folder.exists()
    ('all of it', False)
    """
    remove_rests(parent)
    folder, owner = parent / f".writing-{uuid.uuid4().hex}", os.getpid()
    folder.mkdir()
    try:
        with locked(folder):
            yield folder
    finally:
        if os.getpid() == owner:  # A forked process has a copy of this, but does not own the folder.
            shutil.rmtree(folder, ignore_errors=True)


def remove_rests(parent: Path, seconds: float = OLD) -> None:
    """Remove old folders of `working_folder` that no process has locked.

    A folder that the system cannot lock is kept, since it may be in use.

    Args:
        parent: folder that contains them.
        seconds: minimum age.
    """
    try:
        found = [entry.path for entry in os.scandir(parent) if NAME.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)]
    except OSError:  # The parent cannot be read, or does not exist.
        return
    for path in found:
        try:
            if time.time() - os.stat(path).st_mtime >= seconds:
                with locked(path) as certain:
                    if certain:
                        shutil.rmtree(path, ignore_errors=True)
        except OSError:  # A process has locked it, or another one has just removed it.
            continue


@contextmanager
def locked(path: str | os.PathLike) -> Iterator[bool]:
    """Hold the lock of a file or folder, which the system releases when the process ends, however it ends.

    Args:
        path: existing file or folder.

    Yields:
        Whether the lock is certain; False if the system or its disk has no locks.

    Raises:
        BlockingIOError: if another process, or another `locked` of this process, holds the lock.
    """
    if os.name != "posix":
        yield False
        return
    import fcntl

    descriptor = os.open(path, os.O_RDONLY if os.path.isdir(path) else os.O_RDWR)  # Network disks lock only what may be written.
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            certain = True
        except BlockingIOError:
            raise
        except OSError:  # Such as a network disk without locks.
            certain = False
        yield certain
    finally:
        os.close(descriptor)
