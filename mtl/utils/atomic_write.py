"""Files and folders that appear under their names only once they are whole."""

import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["atomic_write", "locked", "made_folder", "remove_rests", "working_folder"]

#: Exact names of the folders that `working_folder` makes.
NAME = re.compile(r"\.writing-[0-9a-f]{32}")
#: Seconds after which a folder that no process holds is the rest of one that was killed.
OLD = 3600.0


@contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[Path]:
    """Where to write a file, which then takes its place: under its name is the old file or the new one, never a part.

    Args:
        path: of the file.

    Raises:
        OSError: it cannot be written; what was there stays, and nothing is left of the new one.

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
    """A folder, made with those around it unless it is there.

    Raises:
        OSError: it cannot be made.
    """
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        said = f"Could not make the folder '{str(path)[:200]}': {error.strerror or error}. Name another that can be written."
        raise OSError(error.errno, said) from error
    return Path(path)


@contextmanager
def working_folder(parent: Path) -> Iterator[Path]:
    """A new folder within another, for what is not whole yet: held by this process, and removed at the end.

    What killed processes left there before is removed first.

    Args:
        parent: the folder around it, on the same disk as the place that the result is moved to.

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
        if os.getpid() == owner:  # A forked process has a copy of this, and the folder is not its own.
            shutil.rmtree(folder, ignore_errors=True)


def remove_rests(parent: Path, seconds: float = OLD) -> None:
    """Removes the folders of `working_folder` that are old and held by no process.

    A folder that the system cannot lock, so that nobody knows whether it is in use, stays.

    Args:
        parent: the folder around them.
        seconds: their least age.
    """
    try:
        found = [entry.path for entry in os.scandir(parent) if NAME.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)]
    except OSError:  # The parent cannot be read, or is not there.
        return
    for path in found:
        try:
            if time.time() - os.stat(path).st_mtime >= seconds:
                with locked(path) as certain:
                    if certain:
                        shutil.rmtree(path, ignore_errors=True)
        except OSError:  # A process holds it, or another one has just removed it.
            continue


@contextmanager
def locked(path: str | os.PathLike) -> Iterator[bool]:
    """Holds the lock of a file or folder, which the system takes back when the process ends, however it ends.

    Args:
        path: what is there already.

    Returns:
        Whether there is such a lock; False where the system or its disk has none.

    Raises:
        BlockingIOError: another process, or another `locked` of this one, holds it.
    """
    if os.name != "posix":
        yield False
        return
    import fcntl

    descriptor = os.open(path, os.O_RDONLY if os.path.isdir(path) else os.O_RDWR)  # Networks' disks lock what may be written.
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            certain = True
        except BlockingIOError:
            raise
        except OSError:  # Such as a network's disk without locks.
            certain = False
        yield certain
    finally:
        os.close(descriptor)
