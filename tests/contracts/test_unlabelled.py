"""One rule for what is not labelled, and for labels that training did not know: `evaluate` and `report` agree."""

import math
from typing import Any

import keras
import numpy as np
import pytest

import mtl
from tests.tiny import Bag

TEXTS = ["ab ba", "b a", "ac ca", "cc a", "bc a", "a b", "cab ab", "b bb"]
LABELS: dict[str, list[Any]] = {
    "mood": ["up", "down", "odd", "up", "down", "odd", "up", "down"],
    "marks": [["x"], [], ["x", "odd"], {"x": 1, "y": None}, ["odd"], ["y"], {"odd": 1}, {"y": 0}],
    "tags": [["B-P", "I-P"], ["O", "B-P"], ["B-Q", "B-odd"], ["B-odd", "I-odd"],
             ["B-P", "O"], ["O", "O"], ["I-odd", "B-Q"], ["O", "B-P"]],
    "plain": [["N", "V"], ["V", "N"], ["N", "odd"], ["odd", "odd"], ["N", "N"], ["V", "V"], ["odd", "N"], ["N", "V"]],
}  # fmt: skip
SPANS = ["O", "B-P", "I-P", "B-Q", "I-Q"]
HEADS = {
    "mood": (lambda: mtl.heads.Classification(["up", "down"], unknown="ignore"), 2),
    "marks": (lambda: mtl.heads.MultiLabel(["x", "y"], unknown="ignore"), 3),
    "tags": (lambda: mtl.heads.Tagging(SPANS, unknown="ignore"), 4),
    "tags, crf": (lambda: mtl.heads.Tagging(SPANS, unknown="ignore", crf=True), 4),
    "tags, tokens": (lambda: mtl.heads.Tagging(SPANS, unknown="ignore", level="token"), 4),
    "plain": (lambda: mtl.heads.Tagging(["N", "V"], unknown="ignore", scheme=None), 4),
}


@pytest.mark.parametrize("name", HEADS)
def test_evaluate_and_report_leave_out_the_same(name, caplog):
    make, unknown = HEADS[name]
    label = name.split(",")[0]
    rows = [{"text": text.split(), "it": value} for text, value in zip(TEXTS, LABELS[label], strict=True)]
    source = mtl.data.records({"train": rows, "test": rows}, label="it")
    tokenizer = mtl.data.Tokenizer.learn("word", TEXTS)
    keras.utils.set_random_seed(3)
    task = mtl.Task("it", make(), source)
    encoder = Bag(tokenizer.vocabulary_size, tokenizer=tokenizer)
    model = mtl.MultiTaskModel(encoder, task)
    model.compile("sgd")
    data = mtl.data.mix(task, encoder, "test", batch_size=3, cache_dir=None)
    assert f"records, split 'test': left out {unknown} labels of task 'it' that its head does not know" in caplog.text
    result = model.evaluate(data, return_dict=True, verbose=0)
    report = model.report("test")["it"]
    assert report["unknown"] == unknown and data.mixture.unknown == {"it": unknown}
    shared = [figure for figure in report if f"it_{figure}" in result]
    assert len(shared) >= (1 if name == "plain" else 4)
    assert [result[f"it_{figure}"] for figure in shared] == pytest.approx([report[figure] for figure in shared], abs=1e-6)


def test_nothing_known_gives_no_figure():
    assert mtl.heads.Classification(2).report([5], [{"label": 0}], [mtl.data.Example("a")]) == {"unknown": 1}


ARRAYS = {
    "ids": (lambda: mtl.heads.Classification(3, dropout=0.0), [1, -1, 2, 0], [1, 7, 2, 0]),
    "ids by column": (lambda: mtl.heads.Classification(3, dropout=0.0), [[1], [-1], [2], [0]], [[1], [0], [2], [0]]),
    "one-hot": (
        lambda: mtl.heads.Classification(2, dropout=0.0),
        [[1.0, 0.0], [np.nan, 0.0], [0.0, 1.0], [0.5, 0.5]],
        [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.5, 0.5]],
    ),
    "numbers": (
        lambda: mtl.heads.Regression(mean=0.0, scale=1.0, dropout=0.0),
        [1.0, np.nan, -1.0, 2.0],
        [1.0, 9.0, -1.0, 2.0],
    ),
    "tags": (lambda: mtl.heads.Tagging(2, dropout=0.0), [[1, 1], [-1, -1], [0, 1], [0, 0]], [[1, 1], [0, 0], [0, 1], [0, 0]]),
}  # fmt: skip


@pytest.mark.parametrize("form", ARRAYS)
def test_arrays(form):
    make, given, filled = ARRAYS[form]
    keras.utils.set_random_seed(1)
    model = mtl.MultiTaskModel(Bag(), mtl.Task("it", make()))
    model.compile(keras.optimizers.SGD(0.0))
    x = np.array([[1, 2], [3, 4], [5, 6], [7, 8]], "int32")
    weight = np.array([1.0, 0.0, 1.0, 1.0], "float32")
    found = model.evaluate(x, np.array(given), return_dict=True, verbose=0)
    expected = model.evaluate(x, np.array(filled), sample_weight=weight, return_dict=True, verbose=0)
    assert found == pytest.approx(expected, rel=1e-6) and not any(map(math.isnan, found.values()))
    history = model.fit(x, np.array(given), verbose=0).history
    assert history["it_loss"] == pytest.approx([expected["it_loss"]], rel=1e-6)
    assert model.task_losses.rows().tolist() == [3]


def test_the_number_is_a_setting():
    x = np.array([[1, 2], [3, 4]], "int32")
    for missing, value, count in ((-1, -1.0, 1), (-100, -100.0, 1), (None, -1.0, 2), ("auto", -1.0, 2)):
        model = mtl.MultiTaskModel(Bag(), mtl.Task("it", mtl.heads.Regression(mean=0.0, scale=1.0, missing=missing)))
        model.compile("sgd")
        model.evaluate(x, np.array([3.0, value]), verbose=0)
        assert model.task_losses.rows().tolist() == [count]
        again = mtl.heads.Regression.from_config(model.heads["it"].get_config())
        assert again.missing == model.heads["it"].missing
    source = mtl.data.records(
        {"train": [{"text": "a", "it": -1.0}, {"text": "b", "it": "-1"}, {"text": "c", "it": 2}]}, label="it"
    )
    assert len(list(mtl.Task("it", mtl.heads.Regression(), source).labelled("train"))) == 3
    assert len(list(mtl.Task("it", mtl.heads.Regression(missing=-1), source).labelled("train"))) == 1
    with pytest.raises(ValueError, match="expects `missing` as .*; got nan"):
        mtl.heads.Regression(missing=math.nan)
