"""Opening text files, and finding the files of each split."""

import codecs
import glob
import gzip
import hashlib
import io
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TextIO

from mtl.data.source import SPLITS, fingerprint_of
from mtl.data.sources.contents import HEAD, check_text
from mtl.data.sources.rows import Malformed, Row, RowSource, named_splits, split_named
from mtl.utils import expanded, nearest, regular_file

__all__ = [
    "PathLike",
    "Paths",
    "blocks",
    "by_split",
    "existing",
    "FileSource",
    "file_state",
    "files_fingerprint",
    "open_text",
    "read_lines",
    "undecodable",
]

PathLike = str | os.PathLike[str]
Paths = PathLike | Sequence[PathLike] | Mapping[str, PathLike | Sequence[PathLike]]

_BOMS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # Before UTF-16, whose mark is a prefix of it.
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_UNDECODED = re.compile("[\udc00-\udcff]")


def _mark(error: UnicodeError) -> tuple[str, int]:
    """Replace a byte that does not decode by a lone surrogate, which no decoded text holds, to mark its line."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return chr(0xDC00 + error.object[error.start]), error.end


codecs.register_error("mtl.mark", _mark)


def open_text(path: PathLike, encoding: str = "utf-8", newline: str | None = None) -> TextIO:
    """Open a text file, gzip-compressed or not; a byte order mark is dropped, and determines the encoding.

    Bytes that do not decode become lone surrogates, which `undecodable` finds.

    Args:
        path: the file.
        encoding: encoding of a file without a byte order mark.
        newline: see `open`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a text file, such as an Excel or Parquet file, or UTF-16 without a byte order mark.
    """
    path = regular_file(existing(path))
    with open(path, "rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    binary = gzip.open(path, "rb") if zipped else open(path, "rb")
    try:
        head = binary.peek(HEAD)[:HEAD]
    except (EOFError, OSError, zlib.error) as error:
        binary.close()
        raise _damaged(path, 0, error) from error
    encoding = next((name for bom, name in _BOMS.items() if head.startswith(bom)), encoding)
    try:
        check_text(path, head, encoding)
    except ValueError:
        binary.close()
        raise
    return io.TextIOWrapper(binary, encoding, "mtl.mark", newline)


def read_lines(path: PathLike, encoding: str = "utf-8", newline: str | None = None) -> Iterator[str]:
    """Yield the lines of a text file; without line ends, unless `newline=""`.

    Raises:
        ValueError: if the file is a damaged gzip file.
    """
    number = 0
    with open_text(path, encoding, newline) as file:
        try:
            for line in file:
                number += 1
                yield line if newline == "" else line.rstrip("\n")
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise _damaged(path, number, error) from error


def _damaged(path: PathLike, number: int, error: Exception) -> ValueError:
    return ValueError(f"{path}, line {number + 1}: expected a whole gzip file, got a damaged one ({error}); fetch it again.")


def undecodable(path: PathLike, number: int, line: str, encoding: str) -> Malformed | None:
    """Return the error of a line with bytes that do not decode or a NUL; None for other lines."""
    if "\0" in line:
        return Malformed(f"{path}, line {number}: expected {encoding} text, got a NUL", "remove it (as `tr -d '\\0'` does)")
    if line.isascii() or not (found := _UNDECODED.search(line)):
        return None
    byte = ord(found[0]) - 0xDC00
    return Malformed(
        f"{path}, line {number}: expected {encoding} text, got the byte 0x{byte:02x}",
        "name the file's encoding with encoding= (such as 'gb18030' or 'cp1252')",
    )


def blocks(path: PathLike, encoding: str) -> Iterator[list[tuple[int, str]]]:
    """Yield the runs of lines between blank lines, each line with its number."""
    block: list[tuple[int, str]] = []
    for number, line in enumerate(read_lines(path, encoding), 1):
        if line.strip(" \t"):
            block.append((number, line))
        elif block:
            yield block
            block = []
    if block:
        yield block


class FileSource(RowSource):
    """Source made from a function that parses one file.

    Args:
        path: a file, a list or glob of files, split -> file(s), or a folder with one file per split.
        parse: function that yields one file's rows.
        labels: names of the labels.
        arguments: other values that the examples depend on, for the fingerprint.
        encoding: encoding of files without a byte order mark.
        name: name of the source in errors. None: the name of the file, or of the folder that holds all files.
        **options: `fractions`, `seed`, `on_error` and `segment` of `RowSource`.
    """

    def __init__(
        self,
        path: Paths,
        parse: Callable[[Path], Iterator[Row]],
        labels: Iterable[str],
        arguments: Sequence[Any],
        *,
        encoding: str,
        name: str | None = None,
        **options: Any,
    ):
        try:
            codecs.lookup(encoding)
        except LookupError:
            raise ValueError(f"Expected an encoding that Python knows, got '{encoding}'; give a name such as 'utf-8'.") from None
        found = _find(path)
        splits = found if isinstance(found, dict) else {"": found}
        #: All files, in the order of the splits.
        self.files = [file for files in splits.values() for file in files]
        readers = {split: partial(_rows, files, parse) for split, files in splits.items()}
        super().__init__(
            name or _name(self.files),
            readers if isinstance(found, dict) else readers[""],
            labels,
            fingerprint=files_fingerprint(splits, [*arguments, encoding, options]),
            **options,
        )


def _rows(files: Sequence[Path], parse: Callable[[Path], Iterator[Row]]) -> Iterator[Row]:
    empty = True
    for file in files:
        for row in parse(file):
            empty = False
            yield row
    if empty:
        raise ValueError(
            f"{', '.join(map(str, files[:3]))}: expected examples, got none (a header, comments or blank lines only); "
            "fill the file, or leave it out."
        )


def files_fingerprint(splits: Mapping[str, Iterable[Path]], arguments: Any) -> str | None:
    """Return a digest of arguments and of the names and contents of each split's files; None if an argument is a function."""
    if not _comparable(arguments):
        return None
    contents = [(split, file.name, _digest_of(file)) for split, files in splits.items() for file in files]
    return fingerprint_of(contents, arguments)


def file_state(file: Path) -> tuple[int, ...]:
    """Return numbers that change when a file changes."""
    stat = file.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _digest_of(file: Path) -> str:
    return _read_digest(file.absolute(), *file_state(file))


@lru_cache(maxsize=4096)
def _read_digest(file: Path, *state: int) -> str:
    """Return the digest of a file's bytes; cached for each state of the file."""
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "blake2b").hexdigest()


def _comparable(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_comparable, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_comparable, value))
    return not callable(value)


def existing(path: PathLike) -> Path:
    """Return the path if it exists.

    Raises:
        FileNotFoundError: if it does not; the message names the nearest match.
    """
    path = expanded(path)
    if path.exists():
        return path
    missing = path
    while not missing.parent.exists():
        missing = missing.parent
    guess = nearest(missing.name, sorted(entry.name for entry in missing.parent.iterdir())) if missing.parent.is_dir() else None
    remedy = f"did you mean '{missing.parent / guess}'?" if guess else "give the path of something that exists."
    raise FileNotFoundError(f"Expected a file or folder at '{path}', got none: '{missing}' does not exist; {remedy}")


def by_split(entries: Iterable[Path]) -> dict[str, list[Path]]:
    """Return the files or folders by the split that a word of their name means; those without such a word are left out.

    Example:

    >>> by_split([Path("SICK_train.txt"), Path("SICK_trial.txt"), Path("README.md")])
    {'train': [PosixPath('SICK_train.txt')], 'validation': [PosixPath('SICK_trial.txt')]}
    """
    found: dict[str, list[Path]] = {split: [] for split in SPLITS}
    for entry in sorted(entries):
        names = {split_named(word) for word in re.split(r"[\W_]+", entry.name.lower())} & set(SPLITS)
        if len(names) == 1:
            found[names.pop()].append(entry)
    return {split: files for split, files in found.items() if files}


def _find(path: Paths) -> dict[str, list[Path]] | list[Path]:
    if isinstance(path, Mapping):
        return {split: _files(files) for split, files in named_splits(path).items()}
    if not isinstance(path, str | os.PathLike) or not expanded(path).is_dir():
        files = _files(path)
        splits = by_split(files) if isinstance(path, str | os.PathLike) and len(files) > 1 else {}
        return splits if len(splits) > 1 and sum(map(len, splits.values())) == len(files) else files
    splits = by_split(entry for entry in expanded(path).iterdir() if entry.is_file() and not entry.name.startswith("."))
    if not splits:
        raise FileNotFoundError(
            f"Expected files named after splits (train, validation, test) in '{path}', got none; "
            "give a file, or a dict from split to file."
        )
    kinds = {Path(file.name.removesuffix(".gz")).suffix for files in splits.values() for file in files}
    if len(kinds) > 1:
        raise ValueError(
            f"Expected files of one kind in '{path}', got the endings {', '.join(sorted(kinds))}; give a dict from split to file."
        )
    return splits


def _files(paths: PathLike | Sequence[PathLike]) -> list[Path]:
    """Return the files that paths and globs match."""
    files: list[Path] = []
    for path in [paths] if isinstance(paths, str | os.PathLike) else paths:
        path = expanded(path)
        matches = sorted(glob.glob(str(path), recursive=True)) if glob.has_magic(str(path)) and not path.exists() else [str(path)]
        if not matches:
            raise FileNotFoundError(f"Expected files that match '{path}', got none; mend the pattern.")
        files += [existing(match) for match in matches]
    for file in files:
        if file.is_dir():
            raise IsADirectoryError(f"Expected a file, got the folder '{file}'; name its files, or give the glob '{file}/*'.")
        regular_file(file)
    if not files:
        raise FileNotFoundError("Expected at least one file, got an empty list; name the files to read.")
    return files


def _name(files: Sequence[Path]) -> str:
    if len(files) == 1:
        return files[0].name
    return Path(os.path.commonpath([file.absolute().parent for file in files])).name or str(files[0])
