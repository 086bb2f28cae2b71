"""JSON Lines files."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mtl.data.source import Source
from mtl.data.sources.fields import Convert, Field, Fields, Label, Text
from mtl.data.sources.files import FileSource, Paths, read_lines, undecodable
from mtl.data.sources.rows import FRACTIONS, Malformed, Row, Segment, shown
from mtl.utils.arguments import checked
from mtl.utils.types import Size

__all__ = ["jsonl"]


@checked
def jsonl(
    path: Paths,
    text: Text = "text",
    label: Label = None,
    *,
    weight: Field | None = None,
    convert: Convert | None = None,
    segment: Segment | None = None,
    encoding: str = "utf-8",
    fractions: Mapping[str, float] | None = FRACTIONS,
    seed: Size = 0,
    on_error: str = "raise",
) -> Source:
    r"""Return a source of examples from files with one JSON object per line.

    Args:
        path: a file (gzip-compressed or not), a list or glob of files, a dict from split to file(s), or a folder of files named
            after splits.
        text: field of the text, or a tuple of two for pairs of texts. A list is read as the text's words.
        label: one field, several, or a dict from label name to field. Values stay as they are; absent fields, null, NaN and ""
            mean "not labelled". A field that no object has is an error.
        weight: field of the examples' importance, finite numbers from 0; see `mtl.data.Example`. None: weight 1.
        convert: label name -> function from the value in the file to the label's value.
        segment: function from a text to its words, or "jieba"; sets the words of the examples.
        encoding: encoding of files without a byte order mark.
        fractions: split -> share of the texts, if `path` names no splits. None: all texts are in "train".
        seed: seed of the split; another seed gives another split.
        on_error: "raise" at a malformed record, or "skip" it and count it in `source.skipped`.

    Returns:
        A source.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: if a record is malformed (raised while reading).

    Example:

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "tagged.jsonl")
    ...     _ = path.write_text('{"words": ["in", "Rome"], "tags": ["O", "B-place"]}\n')
    ...     source = jsonl(path, text="words", label="tags", fractions=None)
    ...     [(example.text, example.words, example.labels) for example in source.examples("train")]
    [('in Rome', ((0, 2), (3, 7)), {'tags': ['O', 'B-place']})]
    """
    fields = Fields(text, label, convert, weight=weight)

    def parse(file: Path) -> Iterator[Row]:
        for place, record in _objects(file, encoding):
            yield record if isinstance(record, Malformed) else fields.row(record, place)

    source = FileSource(
        path, parse, fields.label, ("jsonl", text, label, weight, convert),
        encoding=encoding, fractions=fractions, seed=seed, on_error=on_error, segment=segment,
    )  # fmt: skip
    if fields.label or weight is not None:
        fields.check_records(source.name, (record for file in source.files for _, record in _objects(file, encoding)))
    return source


def _objects(file: Path, encoding: str) -> Iterator[tuple[str, Any]]:
    """Yield the place of each object of a file, and the object or its error."""
    first = True
    for number, line in enumerate(read_lines(file, encoding), 1):
        place = f"{file}, line {number}"
        if problem := undecodable(file, number, line, encoding):
            yield place, problem
        elif line.strip():
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                record = Malformed(f"{place}: expected one JSON object, got {shown(line)} ({error})", "write one object a line")
            if first:
                _check_first(file, line.strip(), record)
            first = False
            yield place, record


def _check_first(file: Path, line: str, record: Any) -> None:
    """Raise a `ValueError` that explains the file type if the first line begins a JSON document of several objects."""
    parsed = not isinstance(record, Malformed)
    if line.startswith("[") and (not parsed or any(isinstance(part, dict) for part in record)):
        kind = "a JSON array"
    elif line == "{":
        kind = "JSON objects that run over several lines"
    else:
        return
    raise ValueError(
        f"{file}: expected one JSON object a line, got {kind}; write one object a line (as `jq -c` does), "
        "or give mtl.data.records(json.load(file))."
    )
