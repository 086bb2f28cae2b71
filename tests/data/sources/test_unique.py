from typing import Any

import pytest

from mtl.data import records, unique
from mtl.data.example import Example
from mtl.data.sources.rows import RowSource

ROWS: list[dict[str, Any]] = [
    {"a": "x", "b": "1", "mood": "good"},
    {"a": "x", "b": "2", "mood": "bad"},
    {"a": "x", "b": "1", "mood": "good"},
    {"a": "y", "b": "1", "mood": "good"},
    {"a": "y", "b": "1", "mood": "bad"},
    {"a": "z", "b": "1", "mood": None},
    {"a": "z", "b": "1", "mood": "bad"},
]


def read(contradictions):
    source = unique(records({"train": ROWS, "test": ROWS[:3]}, ("a", "b"), "mood"), contradictions)
    return list(source.examples()), list(source.examples("test"))


def test_the_first_of_each_pair_stands():
    train, test = read("keep")
    assert [(example.text, example.pair) for example in train] == [("x", "1"), ("x", "2"), ("y", "1"), ("z", "1")]
    assert train[2].labels == {"mood": "good"}
    assert test == [Example("x", "1", None, {"mood": "good"}), Example("x", "2", None, {"mood": "bad"})]


def test_contradictions_are_dropped():
    """Of ("y", "1") there are a good and a bad one; ("z", "1") has one mood only."""
    train, test = read("drop")
    assert [(example.text, example.pair) for example in train] == [("x", "1"), ("x", "2"), ("z", "1")]
    assert len(test) == 2


def test_a_label_that_is_none_contradicts_nothing():
    rows = [Example("x", labels={"mood": None}), Example("x", labels={"mood": "bad"})]
    source = RowSource("rows", lambda: iter(rows), ("mood",))
    assert list(unique(source, "drop").examples()) == rows[:1]


def test_a_text_and_a_pair_are_not_mixed_up():
    source = unique(records({"train": [{"a": "x', 'y", "b": "z"}, {"a": "x", "b": "y', 'z"}]}, ("a", "b")))
    assert len(list(source.examples())) == 2


def test_fingerprint_and_names(tmp_path):
    source = records({"train": ROWS}, "a", "mood")
    assert unique(source).fingerprint is None
    source.fingerprint = "before"
    prints = {unique(source).fingerprint, unique(source, "drop").fingerprint, "before"}
    assert len(prints) == 3 and None not in prints
    assert (unique(source).splits, unique(source).labels, unique(source).name) == (("train",), ("mood",), "records")
    with pytest.raises(ValueError, match="Unknown contradictions 'dorp'; did you mean 'drop'"):
        unique(source, "dorp")
