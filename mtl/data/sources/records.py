"""Records in memory, and datasets of records."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

from mtl.data.source import Source
from mtl.data.sources.fields import Convert, Field, Fields, Label, Text, plain
from mtl.data.sources.rows import FRACTIONS, Reader, Row, RowSource, Segment, named_splits
from mtl.utils.arguments import checked
from mtl.utils.types import Size

__all__ = ["RecordSource", "from_dataset", "records"]


@checked
def records(
    data: Any,
    text: Text = "text",
    label: Label = None,
    *,
    weight: Field | None = None,
    convert: Convert | None = None,
    segment: Segment | None = None,
    fractions: Mapping[str, float] | None = FRACTIONS,
    seed: Size = 0,
    on_error: str = "raise",
) -> Source:
    """Examples from a list of dicts.

    Args:
        data: a list of dicts, or a dict from split to such a list.
        text: the text's field, or a tuple of two for pairs of texts. A list in that field is taken as the text's words.
        label: a field, several, or a dict from label name to field. Absent fields, None, NaN and "" are "not labelled"; a
            field that no record has is an error.
        weight: the field of the examples' importance, finite numbers from 0; see `mtl.data.Example`. None: all count 1.
        convert: label name -> function from the field's value to the label's value.
        segment: a function from a text to its words, or "jieba"; gives the examples words.
        fractions: split -> share of the texts, where `data` is one list. None: all are "train".
        seed: another seed is another split.
        on_error: "raise" at a malformed record, or "skip" it and count it in `source.skipped`.

    Returns:
        A source.

    Raises:
        ValueError: `data` can be read only once, or, while reading, a record is malformed.

    Example:

    >>> source = records({"train": [{"text": "hello", "mood": "good"}, {"text": "hm", "mood": None}]}, label="mood")
    >>> [(example.text, example.labels) for example in source.examples("train")]
    [('hello', {'mood': 'good'}), ('hm', {})]
    """
    for part in data.values() if isinstance(data, Mapping) else [data]:
        if isinstance(part, str | bytes | Mapping) or not isinstance(part, Sequence):
            raise ValueError(
                f"Expected a list of dicts, or a dict from split to such lists, got {type(part).__name__}; "
                "give list(...) of what can be read only once, and frame.to_dict('records') of a pandas DataFrame."
            )
    fields = Fields(text, label, convert, _decode, weight)
    fields.check_records("records", chain.from_iterable(data.values() if isinstance(data, Mapping) else [data]))
    return RecordSource(
        "records", data, fields, iter,
        segment=segment, fractions=fractions, seed=seed, on_error=on_error,
    )  # fmt: skip


@checked
def from_dataset(
    dataset: Any,
    text: Text = "text",
    label: Label = None,
    *,
    weight: Field | None = None,
    convert: Convert | None = None,
    segment: Segment | None = None,
    fractions: Mapping[str, float] | None = FRACTIONS,
    seed: Size = 0,
    on_error: str = "raise",
) -> Source:
    """Examples from a `tf.data.Dataset` whose elements are dicts, one record each (not batched).

    Args:
        dataset: the dataset, or a dict from split to dataset. Byte strings are decoded as UTF-8, arrays become lists.
        text, label, weight, convert, segment, fractions, seed, on_error: as in `records`.

    Returns:
        A source.

    Raises:
        ValueError: the elements are no dicts or lack a field, or, while reading, a record is malformed.

    Example:

    >>> import tensorflow as tf
    >>> dataset = tf.data.Dataset.from_tensor_slices({"text": ["a", "b"], "stars": [1, 5]})
    >>> [(example.text, example.labels) for example in from_dataset({"train": dataset}, label="stars").examples("train")]
    [('a', {'stars': 1}), ('b', {'stars': 5})]
    """
    fields = Fields(text, label, convert, _decode, weight)
    for part in dataset.values() if isinstance(dataset, Mapping) else [dataset]:
        spec = getattr(part, "element_spec", part)
        if not isinstance(spec, Mapping):
            raise ValueError(
                f"Expected a tf.data.Dataset of dicts, got elements of {type(spec).__name__}; map each element to a dict."
            )
        fields.check("dataset", spec)
        _check_not_batched(spec, fields)
    return RecordSource(
        "dataset", dataset, fields, lambda part: part.as_numpy_iterator(),
        segment=segment, fractions=fractions, seed=seed, on_error=on_error,
    )  # fmt: skip


class RecordSource(RowSource):
    """A source out of records that are not lines of a file.

    Args:
        name: what errors call the source.
        data: anything that `start` takes, or a dict from split to it.
        fields: how a record becomes an example.
        start: starts a pass over the records.
        **options: `fractions`, `seed`, `on_error`, `segment` and `fingerprint` of `RowSource`.
    """

    def __init__(self, name: str, data: Any, fields: Fields, start: Callable[[Any], Iterable[Mapping]], **options: Any):
        def rows(part: Any, place: str) -> Iterator[Row]:
            for number, record in enumerate(start(part), 1):
                yield fields.row(record, f"{place}, item {number}")

        readers: Reader | dict[str, Reader]
        if isinstance(data, Mapping):
            readers = {split: partial(rows, part, f"{name}/{split}") for split, part in named_splits(data).items()}
        else:
            readers = partial(rows, data, name)
        super().__init__(name, readers, fields.label, **options)


def _check_not_batched(spec: Mapping[Any, Any], fields: Fields) -> None:
    """Raises a `ValueError` where a list of texts would be read as the words of one text, and their labels as its own.

    A batch has no scalars, and its dense parts share their first dimension.
    """
    ranks = [getattr(getattr(each, "shape", None), "rank", None) for each in spec.values()]
    text = spec[fields.text[0]]
    if 0 in ranks or not _is_vector(text) or text.dtype.name != "string":
        return
    for name in fields.label.values():
        label = spec[name]
        if _is_vector(label) and label.dtype.name != "string" and label.shape[0] == text.shape[0]:
            raise ValueError(
                f"Expected a tf.data.Dataset of single records, got a batched dataset ('{fields.text[0]}' of shape {text.shape}, "
                f"'{name}' of shape {label.shape}); give dataset.unbatch(), or, where each record holds the words of one text, "
                f"map '{name}' to strings, one a word."
            )


def _is_vector(spec: Any) -> bool:
    return type(spec).__name__ == "TensorSpec" and spec.shape.rank == 1


def _decode(_: Any, value: Any) -> Any:
    return plain(value)
