"""Baselines scored as a model is."""

import pytest

from mtl.baselines.compare import BASELINES, compare
from mtl.data.sources.records import records
from mtl.heads.classification import Classification
from mtl.heads.tagging import Tagging
from mtl.task import Task

ROWS: dict[str, list[dict[str, str | None]]] = {
    "train": [{"text": "good one", "mood": "up"}, {"text": "good two", "mood": "up"}, {"text": "bad one", "mood": "down"}],
    "test": [{"text": "good", "mood": "up"}, {"text": "bad", "mood": "down"}, {"text": "bad", "mood": None}],
}


def task() -> Task:
    return Task("mood", Classification(), records(ROWS, label="mood"))


def test_every_baseline_is_scored_on_the_labelled_examples():
    results = compare(task(), ["majority", "word_ngrams"])
    assert list(results) == ["majority", "word_ngrams"]
    assert results["majority"]["metrics"]["accuracy"] == 0.5
    assert results["word_ngrams"]["metrics"]["accuracy"] == 1.0
    assert all(0 < each["seconds"] < 60 for each in results.values())


def test_another_split_and_a_limit():
    assert compare(task(), split="train")["majority"]["metrics"]["accuracy"] == pytest.approx(2 / 3)
    assert compare(task(), split="train", limit=1)["majority"]["metrics"]["accuracy"] in (0.0, 1.0)


def test_a_baseline_that_is_not_known():
    with pytest.raises(ValueError, match="Unknown baseline 'majorty'; did you mean 'majority'?"):
        compare(task(), ["majorty"])


def test_a_split_without_labels():
    with pytest.raises(ValueError, match="labelled for task 'mood' in the split 'validation', got none; check its source."):
        compare(task(), split="validation")


def test_the_table_of_baselines():
    assert sorted(BASELINES) == ["character_model", "character_ngrams", "majority", "tnt", "word_ngrams"]


def test_a_baseline_that_is_told_the_words_is_not_scored_on_finding_them():
    sentences = ["我/r 看/v 书/n", "他/r 看/v 我/r", "书/n 好/a", "我/r 爱/v 花/n"]
    pairs = [[word.split("/") for word in sentence.split()] for sentence in sentences]
    rows = [{"text": [word for word, _ in pair], "tags": [f"B-{tag}" for _, tag in pair]} for pair in pairs]
    source = records({"train": rows, "test": rows[:2]}, label="tags")
    spans = compare(Task("tags", Tagging(), source), ["majority", "tnt"])
    assert spans["tnt"]["metrics"] == {"type_accuracy": 1.0} and "span_f1" in spans["majority"]["metrics"]
    plain = compare(Task("tags", Tagging(scheme=None), source), ["tnt"])
    assert plain["tnt"]["metrics"] == {"accuracy": 1.0}
