from collections import Counter

import mtl
from mtl.reports.inspection import contradictions, histogram, label_names, overlaps, read_split, read_task

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
    assert read_task(task(mtl.heads.Regression(), rows), "train").numbers == [1.0, 4.0, 7.5]
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
