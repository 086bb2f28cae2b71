"""An example of weight n counts as n examples: in losses, in the metrics of `evaluate` and in those of `report`."""

from typing import Any

import keras
import numpy as np
import pytest

import mtl
from tests.tiny import Bag

TEXTS = ["ab ba", "b a", "ac ca b", "cc a", "bca", "a b c", "cab ab", "b bb"]
WEIGHTS = [2, 0, 3, 1, 1, 4, 0, 2]
LABELS: dict[str, list[Any]] = {
    "mood": ["up", "down", "up", "up", "down", "down", "up", "so"],
    "marks": [["x"], [], ["x", "y"], ["y"], ["x"], ["z"], ["x", "z"], []],
    "score": [1.0, 2.5, -1.0, 4.0, 0.5, 3.0, 9.0, 2.0],
    "tags": [["B-P", "I-P"], ["O", "B-P"], ["B-Q", "I-Q", "O"], ["O", "B-Q"], ["B-P"], ["O"] * 3, ["B-Q", "O"], ["B-P", "O"]],
}
HEADS = {
    "mood": lambda: mtl.heads.Classification(["up", "down", "so"]),
    "marks": lambda: mtl.heads.MultiLabel(["x", "y", "z"]),
    "score": lambda: mtl.heads.Regression(mean=0.0, scale=1.0),
    "tags": lambda: mtl.heads.Tagging(["O", "B-P", "I-P", "B-Q", "I-Q"]),
    "tags, crf": lambda: mtl.heads.Tagging(["O", "B-P", "I-P", "B-Q", "I-Q"], crf=True),
}


def source(repeated: bool) -> mtl.data.Source:
    rows = [
        {"text": text.split(), "w": weight, **{name: values[i] for name, values in LABELS.items()}}
        for i, (text, weight) in enumerate(zip(TEXTS, WEIGHTS, strict=True))
    ]
    if repeated:
        rows = [row for row in rows for _ in range(row["w"])]
    return mtl.data.records({"train": rows, "test": rows}, label=list(LABELS), weight=None if repeated else "w")


@pytest.mark.parametrize("name", HEADS)
def test_a_weight_is_a_number_of_copies(name):
    tokenizer = mtl.data.Tokenizer.learn("word", TEXTS)
    keras.utils.set_random_seed(3)
    label = name.split(",")[0]
    task = mtl.Task("it", HEADS[name](), source(repeated=False), label)
    encoder = Bag(tokenizer.vocabulary_size, tokenizer=tokenizer)
    model = mtl.MultiTaskModel(encoder, task)
    model.compile("sgd")
    results, reports = [], []
    for repeated in (False, True):
        rows = source(repeated)
        same = mtl.Task("it", task.head, rows, label)
        data = mtl.data.mix(same, encoder, "test", batch_size=3, cache_dir=None)
        results.append(model.evaluate(data, return_dict=True, verbose=0))
        reports.append(model.report("test", sources={"it": rows})["it"])
    weighted, copies = results
    assert weighted == pytest.approx(copies, rel=1e-5, abs=1e-6)
    assert (reports[0].pop("examples"), reports[1].pop("examples")) == (6, 13)
    assert reports[0] == pytest.approx(reports[1], rel=1e-5, abs=1e-6)
    shared = [figure for figure in reports[0] if f"it_{figure}" in weighted]
    assert shared and [weighted[f"it_{figure}"] for figure in shared] == pytest.approx([reports[0][f] for f in shared], abs=1e-5)


def test_the_mixture_multiplies():
    tokenizer = mtl.data.Tokenizer.learn("word", TEXTS)
    rows = mtl.data.records(
        {"train": [{"text": "a", "mood": "up", "w": 0.25}, {"text": "b", "w": 7.0}, {"text": "c", "mood": "down", "w": 0.0}]},
        label="mood",
        weight="w",
    )
    task = mtl.Task("mood", mtl.heads.Classification(["down", "up"]), rows)
    (batch,) = mtl.data.mix(task, Bag(tokenizer=tokenizer), batch_size=9, cache_dir=None).as_numpy_iterator()
    np.testing.assert_array_equal(batch[2]["mood"], [0.25])


def test_a_label_that_weighs_nothing_is_not_learned():
    rows = mtl.data.records([{"text": "a", "mood": m, "w": w} for m, w in zip("xyz", (1, 2, 0), strict=True)],
                            label="mood", weight="w", fractions=None)  # fmt: skip
    task = mtl.Task("mood", mtl.heads.Classification(), rows)
    task.prepare()
    assert task.head.labels == ("x", "y")
