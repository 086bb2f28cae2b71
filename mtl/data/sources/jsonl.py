"""One JSON object a line."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from mtl.data.source import Source
from mtl.data.sources.fields import Convert, Fields, Label, Text
from mtl.data.sources.files import FileSource, Paths, read_lines, undecodable
from mtl.data.sources.rows import FRACTIONS, Malformed, Row, Segment, shown

__all__ = ["jsonl"]


def jsonl(
    path: Paths,
    text: Text = "text",
    label: Label = None,
    *,
    convert: Convert | None = None,
    segment: Segment | None = None,
    encoding: str = "utf-8",
    fractions: Mapping[str, float] | None = FRACTIONS,
    seed: int = 0,
    on_error: str = "raise",
) -> Source:
    r"""Examples from files that hold a JSON object a line.

    Args:
        path: a file (gzip or not), a list or glob of files, a dict from split to file(s), or a folder that holds files named
            after splits.
        text: the text's field, or a tuple of two for pairs of texts. A list in that field is taken as the text's words.
        label: a field, several, or a dict from label name to field. Values stay as they are; absent fields, null, NaN and ""
            are "not labelled".
        convert: label name -> function from the value in the file to the label's value.
        segment: a function from a text to its words, or "jieba"; gives the examples words.
        encoding: of files without a byte order mark.
        fractions: split -> share of the texts, where `path` says nothing of splits. None: all are "train".
        seed: another seed is another split.
        on_error: "raise" at a malformed record, or "skip" it and count it in `source.skipped`.

    Returns:
        A source.

    Raises:
        FileNotFoundError: a file does not exist.
        ValueError: while reading, a record is malformed.

    Example:

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "tagged.jsonl")
    ...     _ = path.write_text('{"words": ["in", "Rome"], "tags": ["O", "B-place"]}\n')
    ...     source = jsonl(path, text="words", label="tags", fractions=None)
    ...     [(example.text, example.words, example.labels) for example in source.examples("train")]
    [('in Rome', ((0, 2), (3, 7)), {'tags': ['O', 'B-place']})]
    """
    fields = Fields(text, label, convert)

    def parse(file: Path) -> Iterator[Row]:
        for number, line in enumerate(read_lines(file, encoding), 1):
            if problem := undecodable(file, number, line, encoding):
                yield problem
            elif line.strip():
                place = f"{file}, line {number}"
                try:
                    record = json.loads(line)
                except (ValueError, RecursionError) as error:
                    yield Malformed(f"{place}: expected one JSON object, got {shown(line)} ({error})", "write one object a line")
                else:
                    yield fields.row(record, place)

    return FileSource(
        path, parse, fields.label, ("jsonl", text, label, convert),
        encoding=encoding, fractions=fractions, seed=seed, on_error=on_error, segment=segment,
    )  # fmt: skip
