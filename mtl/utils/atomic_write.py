"""Files that are written at once."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["atomic_write"]


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
    beside = path.with_name(f".writing.{path.name}")
    try:
        yield beside
        os.replace(beside, path)
    except OSError as error:
        reason = error.strerror or error
        said = f"Could not write '{path}': {reason}. What was there stays; make room, or give another place."
        raise OSError(error.errno, said) from error
    finally:
        beside.unlink(missing_ok=True)
