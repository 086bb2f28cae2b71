from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from mtl.data import from_dataset, records, unique
from mtl.data.example import Example
from mtl.data.sources.fields import Fields
from mtl.data.sources.records import RecordSource


def test_records():
    data: list[dict[str, Any]] = [
        {"words": ("in", "Rome"), "tags": ["O", "B"], "spans": [(1, 2, "place")]},
        {"words": [b"a"], "tags": None, "spans": np.zeros((0, 3))},
    ]
    assert list(records(data, "words", ["tags", "spans"], fractions=None).examples()) == [
        Example("in Rome", None, ((0, 2), (3, 7)), {"tags": ["O", "B"], "spans": [(1, 2, "place")]}),
        Example("a", None, ((0, 1),), {"spans": []}),
    ]


def test_records_by_split():
    source = records({"train": [{"text": "a"}], "dev": [{"text": "b"}, {"text": 5}]})
    assert source.splits == ("train", "validation")
    with pytest.raises(ValueError, match="^records/validation, item 2: expected a text or a list of words in 'text', got 5"):
        list(source.examples("validation"))


@pytest.mark.parametrize("data", [({"text": "a"} for _ in range(2)), {"text": "a"}, "a text", {"train": iter(())}])
def test_what_is_no_list(data):
    with pytest.raises(ValueError, match="Expected a list of dicts, or a dict from split to such lists, got .*; give list"):
        records(data)


def test_records_are_read_as_they_are_needed():
    seen = []

    def start(_):
        for i in range(5):
            seen.append(i)
            yield {"text": f"{i}"}

    source = RecordSource("numbers", None, Fields("text"), start)
    assert next(source.examples()).text == "0" and seen == [0]


def test_from_dataset():
    dataset = tf.data.Dataset.from_generator(
        lambda: iter([{"words": ["我", "é"], "n": 2, "other": [1.5]}, {"words": ["x"], "n": 3, "other": [0.25, 0.5]}]),
        output_signature={
            "words": tf.TensorSpec([None], tf.string),
            "n": tf.TensorSpec([], tf.int64),
            "other": tf.TensorSpec([None], tf.float32),
        },
    )
    examples = list(from_dataset(dataset, "words", ["n", "other"], fractions=None).examples())
    assert examples == [
        Example("我 é", None, ((0, 1), (2, 3)), {"n": 2, "other": [1.5]}),
        Example("x", None, ((0, 1),), {"n": 3, "other": [0.25, 0.5]}),
    ]
    assert type(examples[0].labels["n"]) is int


def test_datasets_that_are_not_of_records():
    with pytest.raises(
        ValueError, match="Expected a tf.data.Dataset of dicts, got elements of tuple; map each element to a dict"
    ):
        from_dataset(tf.data.Dataset.from_tensor_slices((["a"], [1])))
    with pytest.raises(ValueError, match="Expected a tf.data.Dataset of dicts, got elements of list"):
        from_dataset([{"text": "a"}])
    with pytest.raises(ValueError, match="Unknown field of 'dataset' 'text'; did you mean 'texts'"):
        from_dataset(tf.data.Dataset.from_tensor_slices({"texts": ["a"]}))


def test_places_of_records():
    (example,) = records([{"text": "a"}], fractions=None).examples()
    assert example.place == "records, item 1"
    source = records({"dev": [{"text": "a"}, {"text": ["b"]}]}, segment=str.split)
    assert [example.place for example in unique(source).examples("validation")] == [
        "records/validation, item 1",
        "records/validation, item 2",
    ]


@pytest.mark.parametrize("drop_remainder", [False, True])
def test_a_batched_dataset_is_not_taken_for_words(drop_remainder):
    dataset = tf.data.Dataset.from_tensor_slices({"text": ["a", "b"], "stars": [1, 5]})
    with pytest.raises(ValueError, match=r"got a batched dataset \('text' of shape .*, 'stars' of shape .*give dataset.unbatch"):
        from_dataset(dataset.batch(2, drop_remainder), label="stars")
    with pytest.raises(ValueError, match="got a batched dataset"):
        from_dataset({"train": dataset.batch(2, drop_remainder)}, label={"score": "stars"})
    batches = dataset.batch(2, drop_remainder).unbatch()
    assert [example.text for example in from_dataset(batches, label="stars", fractions=None).examples()] == ["a", "b"]


def test_words_with_tags_are_not_taken_for_a_batch():
    words = tf.data.Dataset.from_tensors({"words": ["in", "Rome"], "tags": ["O", "B"], "hot": [0, 1, 1]})
    (example,) = from_dataset(words, "words", ["tags", "hot"], fractions=None).examples()
    assert example == Example("in Rome", None, ((0, 2), (3, 7)), {"tags": ["O", "B"], "hot": [0, 1, 1]})


@pytest.mark.parametrize(("given", "name"), [({"label": ["mood", "size"]}, "size"), ({"weight": "mod"}, "mod")])
def test_a_field_that_no_record_has(given, name):
    data = [{"text": "a", "mood": None}, {"text": "b"}]
    for split in (data, {"train": data, "test": data[:1]}):
        with pytest.raises(ValueError, match=f"Unknown field of 'records' '{name}'"):
            records(split, **given)
    assert [example.labels for example in records(data, label="mood", fractions=None).examples()] == [{}, {}]
    assert records([], label="mood").labels == ("mood",)
