"""Detection of files that are not text in the expected encoding."""

import codecs
import re
import zipfile
from pathlib import Path

__all__ = ["HEAD", "check_text"]

#: Number of bytes that are examined.
HEAD = 4096

_FRAME = "read it with pandas and give mtl.data.records(frame.to_dict('records'))"
_UNPACK = "unpack it and give the files in it"
#: First bytes -> name of the file type, and the remedy.
_KINDS: tuple[tuple[bytes, str, str], ...] = (
    (b"PAR1", "a Parquet file", _FRAME),
    (b"ARROW1", "an Arrow file", _FRAME),
    (b"FEA1", "a Feather file", _FRAME),
    (b"ORC", "an ORC file", _FRAME),
    (b"Obj\x01", "an Avro file", "convert it to JSON lines"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel or Word file", "save it as CSV"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", _FRAME),
    (b"SQLite format 3\x00", "an SQLite database", _FRAME),
    (b"\x93NUMPY", "a NumPy array", "give its rows as mtl.data.records([...])"),
    (b"BZh", "a bzip2 archive", _UNPACK),
    (b"\xfd7zXZ\x00", "an xz archive", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive", _UNPACK),
    (b"\x04\x22\x4d\x18", "an LZ4 archive", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (b"%PDF-", "a PDF file", "extract its text"),
    (b"{\\rtf", "a rich text file", "save it as plain text"),
    (b"\x80\x02", "a Python pickle", "load it where you trust it and give mtl.data.records([...])"),
    (b"\x80\x03", "a Python pickle", "load it where you trust it and give mtl.data.records([...])"),
    (b"\x80\x04", "a Python pickle", "load it where you trust it and give mtl.data.records([...])"),
    (b"\x80\x05", "a Python pickle", "load it where you trust it and give mtl.data.records([...])"),
    (b"\x89PNG\r\n\x1a\n", "a PNG picture", "give a text file"),
    (b"\xff\xd8\xff", "a JPEG picture", "give a text file"),
    (b"GIF8", "a GIF picture", "give a text file"),
    (b"\x7fELF", "a program", "give a text file"),
    (
        b"version https://git-lfs.github.com/spec",
        "a pointer of Git LFS, not the file itself",
        "fetch the file with `git lfs pull`",
    ),
)
#: Types that are text themselves, or whose first bytes begin no text: the first bytes alone decide.
_CERTAIN = (b"%PDF-", b"{\\rtf", b"version https://git-lfs")
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_WIDE = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
#: Characters of texts that `str.isprintable` rejects.
_BLANKS = "\t\r\n\f\u2028\u2029\u3000\xa0\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\xad"


def check_text(path: Path, head: bytes, encoding: str) -> None:
    """Raise a `ValueError` that names the type of a file that is not text in its encoding.

    Args:
        path: the file.
        head: its first bytes, after decompression; at most `HEAD`.
        encoding: the encoding to read it in, from a byte order mark or an argument.

    Example:

    >>> check_text(Path("a.csv"), "text,mood\\n".encode("utf-16-le"), "utf-8")
    Traceback (most recent call last):
    ValueError: a.csv: expected utf-8 text, got UTF-16 text without a byte order mark; give encoding='utf-16-le'.
    """
    if not (found := _found(path, head, encoding)):
        return
    kind, remedy = found
    raise ValueError(f"{path}: expected {encoding} text, got {kind}; {remedy}.")


def _found(path: Path, head: bytes, encoding: str) -> tuple[str, str] | None:
    """Return the type of the file and the remedy; None if it may be text."""
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip(path)
    encoding = codecs.lookup(encoding).name
    wide = encoding.startswith(("utf-16", "utf-32"))
    odd = not wide and (_CONTROL.search(head) is not None or _text(head, encoding) is None)
    for start, kind, remedy in _KINDS:
        if head.startswith(start) and (odd or start.startswith(_CERTAIN)):
            return kind, remedy
    if head[257:262] == b"ustar":
        return "a tar archive", _UNPACK
    if wide:
        marked = encoding in ("utf-16", "utf-32")  # These encodings need a byte order mark.
        if head.startswith(_MARKS) if marked else _readable(_text(head, encoding)):
            return None
    elif b"\x00" not in head or 4 * head.count(b"\x00") < len(head) and _readable(_text(head.replace(b"\x00", b""), encoding)):
        return None  # Lines with a few NULs are reported one by one.
    if other := _encoding_of(head):
        mark = " without a byte order mark" if other in _WIDE else ""
        return f"{other.removesuffix('-le').removesuffix('-be').upper()} text{mark}", f"give encoding='{other}'"
    if not wide and (len(_CONTROL.findall(head)) > len(head) / 20 or _text(head, encoding) is None):
        return "a binary file", "give a text file"
    return None


def _zip(path: Path) -> tuple[str, str]:
    """Return the type of a zip file, from the names of its members, and the remedy."""
    try:
        with zipfile.ZipFile(path) as opened:
            names = opened.namelist()
    except (zipfile.BadZipFile, OSError):
        return "a zip archive", _UNPACK
    for folder, kind in (("xl/", "an Excel file (.xlsx)"), ("word/", "a Word file (.docx)")):
        if any(name.startswith(folder) for name in names):
            return kind, "save it as CSV" if folder == "xl/" else "save it as plain text"
    if "content.xml" in names:
        return "an OpenDocument file", "save it as CSV"
    if not names:
        return "an empty zip archive", "give a text file"
    if any(name.endswith("data.pkl") for name in names) or all(name.endswith(".npy") for name in names):
        return "a file of arrays", "give its rows as mtl.data.records([...])"
    return f"a zip archive of {', '.join(names[:3])}{' and more' if len(names) > 3 else ''}", _UNPACK


def _encoding_of(head: bytes) -> str | None:
    """Return the encoding in which the head is readable; of several, the one that gives most ASCII characters."""
    ascii_characters = {
        name: sum(map(str.isascii, text)) for name in ("utf-8", *_WIDE) if (text := _text(head, name)) and _readable(text)
    }
    return max(ascii_characters, key=lambda name: ascii_characters[name], default=None)


def _text(head: bytes, encoding: str) -> str | None:
    """Return the decoded head without a character cut off at its end; None if it does not decode."""
    try:
        return head.decode(encoding)
    except UnicodeDecodeError as error:
        return head[: error.start].decode(encoding) if error.start >= len(head) - 4 else None


def _readable(text: str | None) -> bool:
    return text is not None and all(char.isprintable() or char in _BLANKS for char in text)
