"""Tags and spans in the form of `Tagging.decode`."""

import pytest

from mtl.baselines.tagged import decoded, tagging_head, typed_spans, units_of
from mtl.data.example import Example
from mtl.heads.classification import Classification
from mtl.heads.tagging import Tagging


def test_units_are_words_or_characters():
    example = Example.from_words(["in", "北京"])
    assert units_of(example, Tagging()) == ((0, 2), (3, 5))
    assert units_of(example, Tagging(level="token")) == ((0, 1), (1, 2), (3, 4), (4, 5))


def test_typed_spans():
    units = [(0, 2), (3, 5), (5, 6)]
    assert typed_spans(units, ["B-A", "I-A", "B-A"], "BIO") == [(0, 5, "A"), (5, 6, "A")]
    assert typed_spans(units, ["n", "O", "n"], None) == [(0, 2, "n"), (5, 6, "n")]


def test_decoded_words():
    example = Example.from_words(["in", "New", "York"])
    assert decoded([(3, 11, "LOC")], example, Tagging()) == {
        "words": ["in", "New", "York"],
        "tags": ["O", "B-LOC", "I-LOC"],
        "spans": [{"start": 3, "end": 11, "type": "LOC", "text": "New York"}],
    }
    assert decoded([(0, 2, "IN")], example, Tagging(scheme=None)) == {"words": ["in", "New", "York"], "tags": ["IN", "O", "O"]}


def test_decoded_characters():
    assert decoded([(0, 2, "LOC")], Example("北京 好"), Tagging(level="token", scheme="BIOES")) == {
        "tokens": ["北", "京", "好"],
        "offsets": [[0, 1], [1, 2], [3, 4]],
        "tags": ["B-LOC", "E-LOC", "O"],
        "spans": [{"start": 0, "end": 2, "type": "LOC", "text": "北京"}],
    }


def test_another_head_is_refused():
    with pytest.raises(TypeError, match="Baseline 'tnt' expects a Tagging head, got Classification; choose another baseline."):
        tagging_head(Classification(), "tnt")
