"""CSV and TSV files."""

import csv as standard
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mtl.data.source import Source
from mtl.data.sources.fields import Convert, Field, Fields, Label, Text
from mtl.data.sources.files import FileSource, Paths, file_state, read_lines, undecodable
from mtl.data.sources.quoting import writes_quotes
from mtl.data.sources.rows import FRACTIONS, Malformed, Row, Segment, peek, shown
from mtl.utils import unknown_name
from mtl.utils.arguments import checked
from mtl.utils.types import Size

__all__ = ["csv", "tsv"]

Quoting = Literal[0, 1, 2, 3]

# Python limits fields to 131,072 characters, for the whole process; this is the maximum that every platform's C long holds.
standard.field_size_limit(max(standard.field_size_limit(), 2**31 - 1))


@checked
def csv(
    path: Paths,
    text: Text = "text",
    label: Label = None,
    *,
    weight: Field | None = None,
    header: bool = True,
    delimiter: str = ",",
    quoting: Quoting = standard.QUOTE_MINIMAL,
    convert: Convert | None = None,
    segment: Segment | None = None,
    encoding: str = "utf-8",
    fractions: Mapping[str, float] | None = FRACTIONS,
    seed: Size = 0,
    on_error: str = "raise",
) -> Source:
    r"""Return a source of examples from CSV files; values may be quoted, and quoted values may hold line breaks.

    After a record with unbalanced quotes, reading continues at the line after the record's first. Importing this module raises
    `field_size_limit` of Python's own `csv` for the whole process, so that values may have any length.

    Args:
        path: a file (gzip-compressed or not), a list or glob of files, a dict from split to file(s), or a folder of files named
            after splits.
        text: column of the text, or a tuple of two for pairs of texts. A name, or a number that counts from 0.
        label: one column, several, or a dict from label name to column. Empty values mean "not labelled"; others stay strings.
        weight: column of the examples' importance, finite numbers from 0; see `mtl.data.Example`. None: weight 1.
        header: whether the first record holds the columns' names. If False, every record must have as many columns as most of
            the first thousand have.
        delimiter: separator of values.
        quoting: one of the `QUOTE_` constants of Python's `csv`.
        convert: label name -> function from the string to the label's value, such as `{"score": float}`; or a separator that
            splits the string into a list, such as `{"topics": ";"}`, for which an empty value is an empty list.
        segment: function from a text to its words, or "jieba"; sets the words of the examples.
        encoding: encoding of files without a byte order mark.
        fractions: split -> share of the texts, if `path` names no splits. None: all texts are in "train".
        seed: seed of the split; another seed gives another split.
        on_error: "raise" at a malformed record, or "skip" it and count it in `source.skipped`.

    Returns:
        A source.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: if a column does not exist, or a record is malformed (raised while reading).

    Example:

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "news.csv")
    ...     _ = path.write_text('body,topic\n"Rates rise, again",economy\n')
    ...     source = csv(path, text="body", label={"section": "topic"}, fractions=None)
    ...     [(example.text, example.labels) for example in source.examples("train")]
    [('Rates rise, again', {'section': 'economy'})]
    """
    if not isinstance(delimiter, str) or len(delimiter) != 1:
        raise ValueError(f"Expected a delimiter of one character, got {delimiter!r}; read other files with records().")
    return _table(
        path, Fields(text, label, convert, weight=weight), ("csv", text, label, weight, header, delimiter, quoting, convert),
        header=header, delimiter=delimiter, quoting=quoting,
        encoding=encoding, fractions=fractions, seed=seed, on_error=on_error, segment=segment,
    )  # fmt: skip


@checked
def tsv(
    path: Paths,
    text: Text = "text",
    label: Label = None,
    *,
    weight: Field | None = None,
    header: bool = True,
    quoting: Quoting | None = None,
    convert: Convert | None = None,
    segment: Segment | None = None,
    encoding: str = "utf-8",
    fractions: Mapping[str, float] | None = FRACTIONS,
    seed: Size = 0,
    on_error: str = "raise",
) -> Source:
    r"""Return a source of examples from TSV files, as `csv` does with tabs.

    In some TSV files quotes are plain characters; in others a CSV writer put them around values. By default each file decides:
    quotes delimit values if every quote of the file is placed as a CSV writer places it, and are plain characters otherwise.

    Args:
        path, text, label, weight, header, convert, segment, encoding, fractions, seed, on_error: see `csv`.
        quoting: one of the `QUOTE_` constants of Python's `csv`: `QUOTE_NONE` for plain characters. None: the file decides.

    Returns:
        A source.

    Example:

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "pairs.tsv")
    ...     _ = path.write_text('5" nails\tnails\t4.5\n')
    ...     source = tsv(path, text=(0, 1), label={"score": 2}, header=False, convert={"score": float}, fractions=None)
    ...     [(example.text, example.pair, example.labels) for example in source.examples("train")]
    [('5" nails', 'nails', {'score': 4.5})]
    """
    return _table(
        path, Fields(text, label, convert, weight=weight), ("tsv", text, label, weight, header, quoting, convert),
        header=header, delimiter="\t", quoting=quoting,
        encoding=encoding, fractions=fractions, seed=seed, on_error=on_error, segment=segment,
    )  # fmt: skip


def _table(
    path: Paths,
    fields: Fields,
    arguments: Sequence[Any],
    *,
    header: bool,
    delimiter: str,
    quoting: Quoting | None,
    encoding: str,
    **options: Any,
) -> Source:
    """Return a source of tables; see `csv`."""
    needed = 1 + max((field for field in fields.names if isinstance(field, int)), default=0)

    def parse(file: Path) -> Iterator[Row]:
        quotes = quoting
        if quotes is None:
            written = _has_written_quotes(file, encoding, delimiter, file_state(file))
            quotes = standard.QUOTE_MINIMAL if written else standard.QUOTE_NONE
        head, records = peek(_records(file, encoding, delimiter, quotes))
        widths = Counter(len(record.values) for record in head if isinstance(record, _Record))
        # Of several most frequent widths, one with the columns asked for, or else the first.
        width = max(widths, key=lambda width: (widths[width], width >= needed), default=0)
        first: _Record | Malformed | None = next((record for record in head if isinstance(record, _Record)), None)
        if header:
            first = next(records, None)
            if first is None:
                raise ValueError(f"{file}: expected a header, got an empty file; leave the file out.")
            if isinstance(first, Malformed):
                raise first
            _check_header(first, width, widths)
            width = len(first.values)
        positions = _positions(fields, first.values, width, header, first.place, delimiter) if isinstance(first, _Record) else {}
        for record in records:
            if isinstance(record, Malformed):
                yield record
            elif len(record.values) != width:
                yield Malformed(f"{record.place}: expected {width} columns, got {len(record.values)}")
            else:
                yield fields.row({field: record.values[position] for field, position in positions.items()}, record.place)

    return FileSource(path, parse, fields.label, arguments, encoding=encoding, **options)


@lru_cache(maxsize=4096)
def _has_written_quotes(file: Path, encoding: str, delimiter: str, state: tuple[int, ...]) -> bool:
    """Return whether a file's quotes are those of a CSV writer; cached for each state of the file."""
    if not any('"' in line for line in read_lines(file, encoding)):
        return False
    return writes_quotes(read_lines(file, encoding, newline=""), delimiter)


class _Record(NamedTuple):
    """Values of a record, and its place."""

    values: list[str]
    place: str


def _records(file: Path, encoding: str, delimiter: str, quoting: Quoting) -> Iterator[_Record | Malformed]:
    """Yield the records of a file, or their errors; blank lines are left out."""
    lines = _Lines(read_lines(file, encoding, newline=""))
    reader = standard.reader(lines, delimiter=delimiter, quoting=quoting, strict=True)
    while True:
        number = lines.start_record()
        place = f"{file}, line {number}"
        try:
            values = next(reader)
        except StopIteration:
            return
        except standard.Error as error:
            yield Malformed(
                f"{place}: expected a record with balanced quotes, got one that does not parse ({error})",
                "double the quotes inside quoted values, read with quoting=csv.QUOTE_NONE",
            )
            lines.hand_back()
            continue
        if values:
            yield undecodable(file, number, delimiter.join(values), encoding) or _Record(values, place)


class _Lines:
    """Iterator of lines that keeps those of the current record, so that all but its first can be read again."""

    def __init__(self, lines: Iterator[str]):
        self._lines = lines
        self._again: deque[str] = deque()
        self._record: list[str] = []
        self._read = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        self._record.append(line)
        self._read += 1
        return line

    def start_record(self) -> int:
        """Start a record and return the number of its first line."""
        self._record.clear()
        return self._read + 1

    def hand_back(self) -> None:
        self._again.extendleft(reversed(self._record[1:]))
        self._read -= len(self._record[1:])


def _check_header(header: _Record, width: int, widths: Mapping[int, int]) -> None:
    """Raise a `ValueError` if most records have another number of columns than the header, which then cannot name them."""
    if len(header.values) != width and 2 * widths[width] > sum(widths.values()):
        raise ValueError(
            f"{header.place}: expected a header with {width} columns, as most records have, got {len(header.values)}: "
            f"{shown(header.values)}; mend the header."
        )


def _positions(fields: Fields, first: list[str], width: int, header: bool, place: str, delimiter: str) -> dict[Field, int]:
    """Return the position of each field, from the header or the number of columns."""
    other = next((sign for sign in (",", "\t", ";", "|") if sign != delimiter and sign in first[0]), None) if width == 1 else None
    if other and delimiter == "\t":
        remedy = "read the file with csv" + ("" if other == "," else f" and delimiter={other!r}")
    else:
        remedy = f"give delimiter={other!r}"
    positions: dict[Field, int] = {}
    for field in fields.names:
        if isinstance(field, int):
            if not 0 <= field < width:
                remedy = remedy if other else "columns count from 0"
                raise ValueError(f"{place}: expected a column {field}, got {width} columns; {remedy}.")
            positions[field] = field
        elif not header:
            raise ValueError(f"{place}: expected column numbers where header=False, got '{field}'; count columns from 0.")
        elif field not in first and other:
            raise ValueError(f"{place}: expected a column '{field}', got one column {shown(first[0])}; {remedy}.")
        elif field not in first:
            raise unknown_name(f"column in {place}:", field, first)
        elif first.count(field) > 1:
            raise ValueError(f"{place}: expected one column '{field}', got {first.count(field)}; name columns by number, from 0.")
        else:
            positions[field] = first.index(field)
    return positions
