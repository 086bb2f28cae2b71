from collections import Counter

import pytest

import mtl
from mtl.reports.inspection import (
    TaskFacts,
    contradictions,
    histogram,
    label_names,
    number_histogram,
    overlaps,
    read_split,
    read_task,
    unseen_labels,
)

ROWS = {
    "train": [("a b", "x"), ("a b", "y"), ("a b", "x"), ("c", "x"), ("d d d d", "y")],
    "test": [("c", "x"), ("d d d d", "x"), ("e", None)],
}


def source(rows=ROWS) -> mtl.data.Source:
    return mtl.data.records({split: [{"text": t, "kind": k} for t, k in each] for split, each in rows.items()}, label="kind")


def task(head=None, rows=ROWS) -> mtl.Task:
    return mtl.Task("kind", head or mtl.heads.Classification(), source(rows))


def test_split_facts() -> None:
    tokenizer = mtl.data.Tokenizer.learn("word", ["a b c"])
    facts = read_split(source(), "train", tokenizer, max_length=3)
    assert (facts.examples, facts.duplicates) == (5, 2)
    assert list(facts.lengths) == [2, 2, 2, 1, 4]
    assert (facts.tokens, facts.unknown, facts.truncated) == (11, 4, 1)


def test_pairs_are_texts_of_their_own() -> None:
    rows = mtl.data.records([{"a": "x", "b": "y"}, {"a": "x", "b": "z"}, {"a": "x", "b": "y"}], text=("a", "b"), fractions=None)
    assert read_split(rows, "train").duplicates == 1


def test_texts_in_two_splits() -> None:
    facts = {split: read_split(source(), split) for split in ROWS}
    assert overlaps(facts) == {("train", "test"): 2}
    assert overlaps({"train": facts["train"]}) == {}


def test_label_counts() -> None:
    facts = read_task(task(), "train")
    assert (facts.examples, facts.labels, facts.numbers) == (5, Counter(x=3, y=2), None)
    assert read_task(task(), "test").examples == 2


def test_numbers() -> None:
    rows = {"train": [("a", 1.0), ("b", 4.0), ("c", 2.5)]}
    assert list(read_task(task(mtl.heads.Regression(), rows), "train").numbers or ()) == [1.0, 4.0, 2.5]
    texts = {"train": [("a", "1.0"), ("b", "2")]}  # As CSV gives them.
    assert list(read_task(task(mtl.heads.Regression(), texts), "train").numbers or ()) == [1.0, 2.0]
    with pytest.raises(ValueError, match="records/train, item 2: task 'kind': could not convert"):
        read_task(task(mtl.heads.Regression(), {"train": [("a", "1"), ("b", "so")]}), "train")
    many = {"train": [(str(i), i / 7) for i in range(1500)]}
    assert read_task(task(mtl.heads.Regression(), many), "train").labels is None


def test_contradicted_texts() -> None:
    # "a b" is x and y in one split, "d d d d" y in one and x in the other.
    assert contradictions(task(), ["train"]) == 1
    assert contradictions(task(), ["train", "test"]) == 2
    assert contradictions(task(), []) == 0


def test_label_names() -> None:
    assert label_names(True) == ["True"] and label_names(["x", "y"]) == ["x", "y"]
    assert label_names([[0, 2, "LOC"], (3, 4, "PER")]) == ["LOC", "PER"]
    assert label_names([{"start": 0, "end": 2, "type": "LOC"}, {"start": 3, "end": 4, "label": "PER"}]) == ["LOC", "PER"]


def test_histogram() -> None:
    assert histogram([]) == []
    assert histogram([5, 5], bins=3, width=4) == [("5", 2, "████")]
    rows = histogram([1] * 8 + [10], bins=5, width=4)
    assert [row[:2] for row in rows] == [("1-2", 8), ("3-4", 0), ("5-6", 0), ("7-8", 0), ("9-10", 1)]
    assert [row[:2] for row in histogram([*range(1, 11)] * 20 + [999], bins=2)] == [("1-5", 100), ("6-999", 101)]
    assert rows[-1][2] == "▌"  # A quarter of an eighth of 8 * 4 eighths: 4 of 32.


def test_number_histogram() -> None:
    assert number_histogram([]) == []
    assert number_histogram([3.0] * 4 + [1.0, 1.0], width=4) == [("1", 2, "██"), ("3", 4, "████")]
    rows = number_histogram([i / 10 for i in range(100)], bins=4, width=4)
    assert [row[1] for row in rows] == [25] * 4 and rows[0][0] == "0 to 2.475" and rows[-1][0] == "7.425 to 9.9"


def test_labels_that_training_never_shows() -> None:
    facts = {
        "train": TaskFacts(3, Counter(x=3)),
        "validation": TaskFacts(1, Counter(x=1)),
        "test": TaskFacts(3, Counter(x=1, y=2)),
    }
    assert unseen_labels(facts) == {"test": Counter(y=2)}
    assert unseen_labels({"test": TaskFacts(1, Counter(x=1))}) == {}
    assert unseen_labels({"train": TaskFacts(1, None), "test": TaskFacts(1, Counter(x=1))}) == {}


def test_labels_of_texts_with_several() -> None:
    rows: dict = {"train": [("a", "x|y"), ("b", ["x"]), ("c", "")]}
    # An empty string is "not labelled" in a source.
    assert read_task(task(mtl.heads.MultiLabel(), rows), "train").labels == Counter(x=2, y=1)
    hot: dict = {"train": [("a", [0, 1, 1]), ("b", [0, 0, 1])]}
    assert read_task(task(mtl.heads.MultiLabel(multi_hot=True), hot), "train").labels == Counter({"1": 1, "2": 2})
    named = mtl.heads.MultiLabel(["rain", "snow", "wind"], multi_hot=True)
    assert read_task(task(named, hot), "train").labels == Counter(snow=1, wind=2)
    with pytest.raises(ValueError, match="records/train, item 1: task 'kind': .*multi_hot=True"):
        read_task(task(mtl.heads.MultiLabel(), hot), "train")
