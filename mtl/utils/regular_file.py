"""Reading regular files only, and never pipes or devices, which may have no end."""

import json
import os
import stat
from pathlib import Path
from typing import Any

__all__ = ["expanded", "parse_json", "read_json", "regular_file"]

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
#: Maximum depth of nested lists and mappings in a JSON file.
DEPTH = 100


def expanded(path: str | os.PathLike) -> Path:
    """Return the path with `~` replaced.

    Raises:
        FileNotFoundError: if there is no such user, or the user has no home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise FileNotFoundError(f"Expected a path; got '{path}', of whose '~' the folder is not known. Write it out.") from error


def regular_file(path: str | os.PathLike) -> Path:
    """Return the path of a file after checking that it is a regular file: reading a pipe, a device or a socket may never end.

    Raises:
        FileNotFoundError: if the path does not exist.
        IsADirectoryError: if it is a folder.
        ValueError: if it is neither a file nor a folder.

    Example:

    >>> regular_file("/dev/null")
    Traceback (most recent call last):
    ...
    ValueError: Expected a file; got '/dev/null', which is a device. Copy what is to be read into a file.
    """
    path = expanded(path)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise FileNotFoundError(f"Expected a file at '{path}'; there is none.") from None
    if stat.S_ISREG(mode):
        return path
    kind = next((kind for test, kind in _KINDS if test(mode)), "no file")
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"Expected a file; got the folder '{path}'. Name one of its files.")
    raise ValueError(f"Expected a file; got '{path}', which is {kind}. Copy what is to be read into a file.")


def read_json(path: str | os.PathLike, most: int = 2**28) -> dict[str, Any]:
    """Return the object in a JSON file.

    Args:
        path: the file.
        most: maximum size in bytes.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no regular file, larger than `most`, not UTF-8, not JSON, not an object, or deeper than 100 levels.
    """
    path = regular_file(path)
    if (size := path.stat().st_size) > most:
        raise ValueError(f"Expected a JSON file of at most {most:,} bytes; '{path}' has {size:,}.")
    return parse_json(path.read_bytes(), str(path))


def parse_json(content: bytes | str, name: str) -> dict[str, Any]:
    """Return the object in the content of a JSON file; `name` is the file's name in errors. See `read_json`."""
    try:
        value = json.loads(content)
    except RecursionError:
        raise ValueError(f"Expected at most {DEPTH} levels in the JSON of '{name}'; it has more.") from None
    except ValueError as error:
        raise ValueError(f"Expected JSON in '{name}'; it is damaged ({error}). Fetch or write it anew.") from error
    if not isinstance(value, dict):
        raise ValueError(f"Expected a JSON object in '{name}'; it holds a {type(value).__name__}.")
    level: list[Any] = [value]
    for _ in range(DEPTH):
        level = [part for whole in level for part in (whole.values() if isinstance(whole, dict) else whole)]
        level = [part for part in level if isinstance(part, (dict, list))]
        if not level:
            return value
    raise ValueError(f"Expected at most {DEPTH} levels in the JSON of '{name}'; it has more.")
