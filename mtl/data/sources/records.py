"""Records in memory, and `tf.data` datasets of records."""

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
    """Return a source of examples from a list of dicts.

    Args:
        data: a list of dicts, or a dict from split to such a list.
        text: field of the text, or a tuple of two for pairs of texts. A list is read as the text's words.
        label: one field, several, or a dict from label name to field. Absent fields, None, NaN and "" mean "not labelled"; a
            field that no record has is an error.
        weight: field of the examples' importance, finite numbers from 0; see `mtl.data.Example`. None: weight 1.
        convert: label name -> function from the field's value to the label's value.
        segment: function from a text to its words, or "jieba"; sets the words of the examples.
        fractions: split -> share of the texts, if `data` is one list. None: all texts are in "train".
        seed: seed of the split; another seed gives another split.
        on_error: "raise" at a malformed record, or "skip" it and count it in `source.skipped`.

    Returns:
        A source.

    Raises:
        ValueError: if `data` can be read only once, or a record is malformed (raised while reading).

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
    """Return a source of examples from a `tf.data.Dataset` whose elements are dicts, one record each (not batched).

    Args:
        dataset: the dataset, or a dict from split to dataset. Byte strings are decoded as UTF-8, arrays become lists.
        text, label, weight, convert, segment, fractions, seed, on_error: see `records`.

    Returns:
        A source.

    Raises:
        ValueError: if the elements are not dicts or lack a field, or a record is malformed (raised while reading).

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
    """Source made from records that are not lines of a file.

    Args:
        name: name of the source in errors.
        data: any argument of `start`, or a dict from split to such arguments.
        fields: conversion of records to examples.
        start: function that starts a pass over the records.
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
    """Raise a `ValueError` if a batch of texts would be read as the words of one text, and its labels as that text's label.

    A batch has no scalars, and its dense components have the same first dimension.
    """
    ranks = [getattr(getattr(component, "shape", None), "rank", None) for component in spec.values()]
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
