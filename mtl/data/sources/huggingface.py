"""Data sets saved to disk by Hugging Face's `datasets`."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

from mtl.data.source import Source
from mtl.data.sources.fields import Convert, Field, Fields, Label, Text, class_names
from mtl.data.sources.files import existing, files_fingerprint
from mtl.data.sources.records import RecordSource
from mtl.data.sources.rows import FRACTIONS, Segment
from mtl.utils.arguments import checked
from mtl.utils.types import Size

__all__ = ["huggingface"]


@checked
def huggingface(
    path: Any,
    text: Text = "text",
    label: Label = None,
    *,
    weight: Field | None = None,
    missing: float | None = -1,
    convert: Convert | None = None,
    segment: Segment | None = None,
    fractions: Mapping[str, float] | None = FRACTIONS,
    seed: Size = 0,
    on_error: str = "raise",
) -> Source:
    """Return a source of the examples of a `datasets.Dataset` or `datasets.DatasetDict`.

    Args:
        path: folder that `save_to_disk` wrote, or the data set itself.
        text: column of the text, or a tuple of two for pairs of texts. A list is read as the text's words.
        label: one column, several, or a dict from label name to column. Classes become their names, also in lists; None and
            `missing` mean "not labelled".
        missing: number that means "not labelled", for classes and for scores; None if -1 is an ordinary score.
        weight: column of the examples' importance, finite numbers from 0; see `mtl.data.Example`. None: weight 1.
        convert: label name -> function from the column's value to the label's value.
        segment: function from a text to its words, or "jieba"; sets the words of the examples.
        fractions: split -> share of the texts, for a `Dataset`, which has no splits. None: all texts are in "train".
        seed: seed of the split; another seed gives another split.
        on_error: "raise" at a malformed record, or "skip" it and count it in `source.skipped`.

    Returns:
        A source.

    Raises:
        FileNotFoundError: if the folder does not exist or holds no data set.
        ValueError: if a column does not exist, or a record is malformed (raised while reading).

    Example:

    >>> import datasets
    >>> dataset = datasets.Dataset.from_dict({"text": ["a", "b"], "stars": [1, 5]})
    >>> [(example.text, example.labels) for example in huggingface(dataset, label="stars", fractions=None).examples("train")]
    [('a', {'stars': 1}), ('b', {'stars': 5})]
    """
    name, data, files = "dataset", path, []
    if isinstance(path, str | os.PathLike):
        import datasets

        folder = existing(path)
        name, data = folder.name, datasets.load_from_disk(str(folder))
        files = sorted(entry for entry in folder.rglob("*") if entry.is_file() and not entry.name.startswith("cache-"))
    parts = list(data.values()) if isinstance(data, Mapping) else [data]
    fields = Fields(text, label, convert, lambda _, pair: class_names(pair[0], pair[1], missing), weight)
    for part in parts:
        fields.check(name, part.features)

    def start(part: Any) -> Iterator[dict[str, tuple[Any, Any]]]:
        """Yield the records of a part, each value with its feature, since each part may number its classes differently."""
        for record in part.select_columns(list(fields.names)):
            yield {column: (part.features[column], value) for column, value in record.items()}

    arguments = ("huggingface", text, label, weight, missing, convert, segment, fractions, seed, on_error)
    return RecordSource(
        name, data, fields, start,
        segment=segment, fractions=fractions, seed=seed, on_error=on_error,
        fingerprint=files_fingerprint({"": files}, arguments) if files else None,
    )  # fmt: skip
