"""Tables of comma- or tab-separated values."""

import csv as standard
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from mtl.data.source import Source
from mtl.data.sources.fields import Convert, Field, Fields, Label, Text
from mtl.data.sources.files import FileSource, Paths, read_lines, undecodable
from mtl.data.sources.rows import FRACTIONS, Malformed, Row, Segment
from mtl.utils import unknown_name

__all__ = ["csv", "tsv"]

Quoting = Literal[0, 1, 2, 3]

# Python refuses fields of more than 131,072 characters, for the whole process: here as many as every platform's C long holds.
standard.field_size_limit(max(standard.field_size_limit(), 2**31 - 1))


def csv(
    path: Paths,
    text: Text = "text",
    label: Label = None,
    *,
    header: bool = True,
    delimiter: str = ",",
    quoting: Quoting = standard.QUOTE_MINIMAL,
    convert: Convert | None = None,
    segment: Segment | None = None,
    encoding: str = "utf-8",
    fractions: Mapping[str, float] | None = FRACTIONS,
    seed: int = 0,
    on_error: str = "raise",
) -> Source:
    r"""Examples from CSV files; values may be quoted, and quoted ones may hold line breaks.

    After a record whose quotes do not balance, reading goes on at the line after its first one. Importing this module raises
    `field_size_limit` of Python's own `csv`, which holds for the whole process, so that values may be of any length.

    Args:
        path: a file (gzip or not), a list or glob of files, a dict from split to file(s), or a folder that holds files named
            after splits.
        text: the text's column, or a tuple of two for pairs of texts. A name, or a number that counts from 0.
        label: a column, several, or a dict from label name to column. Empty values are "not labelled"; others stay strings.
        header: whether the first record holds the columns' names.
        delimiter: what stands between two values.
        quoting: one of the `QUOTE_` constants of Python's `csv`.
        convert: label name -> function from the string to the label's value, such as `{"score": float}`; or a text at which it is
            split into a list, such as `{"topics": ";"}`, of which an empty value is an empty list.
        segment: a function from a text to its words, or "jieba"; gives the examples words.
        encoding: of files without a byte order mark.
        fractions: split -> share of the texts, where `path` says nothing of splits. None: all are "train".
        seed: another seed is another split.
        on_error: "raise" at a malformed record, or "skip" it and count it in `source.skipped`.

    Returns:
        A source.

    Raises:
        FileNotFoundError: a file does not exist.
        ValueError: a column does not exist, or, while reading, a record is malformed.

    Example:

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "news.csv")
    ...     _ = path.write_text('body,topic\n"Rates rise, again",economy\n')
    ...     source = csv(path, text="body", label={"section": "topic"}, fractions=None)
    ...     [(example.text, example.labels) for example in source.examples("train")]
    [('Rates rise, again', {'section': 'economy'})]
    """
    fields = Fields(text, label, convert)
    if not isinstance(delimiter, str) or len(delimiter) != 1:
        raise ValueError(f"Expected a delimiter of one character, got {delimiter!r}; read other files with records().")

    def parse(file: Path) -> Iterator[Row]:
        lines = _Lines(read_lines(file, encoding, newline=""))
        reader = standard.reader(lines, delimiter=delimiter, quoting=quoting, strict=True)
        positions: dict[Field, int] | None = None
        width = 0
        while True:
            number = lines.start_record()
            place = f"{file}, line {number}"
            try:
                values = next(reader)
            except StopIteration:
                if header and positions is None:
                    raise ValueError(f"{file}: expected a header, got an empty file; leave the file out.") from None
                return
            except standard.Error as error:
                yield Malformed(
                    f"{place}: expected a record with balanced quotes, got one that does not parse ({error})",
                    "double the quotes inside quoted values, read with quoting=csv.QUOTE_NONE",
                )
                lines.hand_back()
                continue
            if not values:
                continue
            problem = undecodable(file, number, delimiter.join(values), encoding)
            if positions is None:
                if problem and header:
                    raise problem
                positions, width = _positions(fields, values, header, place), len(values)
                if header:
                    continue
            if problem:
                yield problem
            elif len(values) != width:
                yield Malformed(f"{place}: expected {width} columns, got {len(values)}")
            else:
                yield fields.row({field: values[position] for field, position in positions.items()}, place)

    arguments = ("csv", text, label, header, delimiter, quoting, convert)
    return FileSource(
        path, parse, fields.label, arguments,
        encoding=encoding, fractions=fractions, seed=seed, on_error=on_error, segment=segment,
    )  # fmt: skip


def tsv(
    path: Paths,
    text: Text = "text",
    label: Label = None,
    *,
    header: bool = True,
    quoting: Quoting = standard.QUOTE_NONE,
    convert: Convert | None = None,
    segment: Segment | None = None,
    encoding: str = "utf-8",
    fractions: Mapping[str, float] | None = FRACTIONS,
    seed: int = 0,
    on_error: str = "raise",
) -> Source:
    r"""Examples from TSV files: as `csv`, with tabs, and with quotes as plain characters.

    Args:
        path, text, label, header, convert, segment, encoding, fractions, seed, on_error: as in `csv`.
        quoting: one of the `QUOTE_` constants of Python's `csv`.

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
    return csv(
        path, text, label,
        header=header, delimiter="\t", quoting=quoting, convert=convert, segment=segment,
        encoding=encoding, fractions=fractions, seed=seed, on_error=on_error,
    )  # fmt: skip


class _Lines:
    """Lines; those of one record are kept, so that all but its first can be read again."""

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
        """Starts a record; returns the number of its first line."""
        self._record.clear()
        return self._read + 1

    def hand_back(self) -> None:
        self._again.extendleft(reversed(self._record[1:]))
        self._read -= len(self._record[1:])


def _positions(fields: Fields, first: list[str], header: bool, place: str) -> dict[Field, int]:
    """Where each field stands, by the first record."""
    positions: dict[Field, int] = {}
    for field in fields.names:
        if isinstance(field, int):
            if not 0 <= field < len(first):
                raise ValueError(f"{place}: expected a column {field}, got {len(first)} columns; columns count from 0.")
            positions[field] = field
        elif not header:
            raise ValueError(f"{place}: expected column numbers where header=False, got '{field}'; count columns from 0.")
        elif field not in first and len(first) == 1 and (found := next((sign for sign in ";\t|," if sign in first[0]), None)):
            raise ValueError(f"{place}: expected a column '{field}', got one column '{first[0]}'; give delimiter={found!r}.")
        elif field not in first:
            raise unknown_name(f"column in {place}:", field, first)
        elif first.count(field) > 1:
            raise ValueError(f"{place}: expected one column '{field}', got {first.count(field)}; name columns by number, from 0.")
        else:
            positions[field] = first.index(field)
    return positions
