"""Targets of axes of their own: one number for each pair of words, in one model with a task of one number per row."""

from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from mtl import MultiTaskModel, Task
from mtl.data import Tokenizer, mix, records
from mtl.data.annotation import words_of
from mtl.data.columns import Column, Target
from mtl.heads import Head, Regression
from tests.tiny import Bag


def letters(example: Any, _: Any) -> list[int]:
    return [end - start for start, end in words_of(example)]


class Pairs(Head):
    """Says `w` times the product of two words' lengths, for each pair of words."""

    target = Target(("words", "words"), "float32")
    columns = (Column("letters", ("words",), "float32", values=letters),)

    def build(self, features_shape: Any) -> None:
        self.scale = self.add_weight(name="scale", shape=(), initializer="zeros")

    def call(self, features: Any, training: Any = None) -> Any:
        return self.scale * features["letters"][:, :, None] * features["letters"][:, None]

    def encode(self, value: Any, example: Any, encoding: Any) -> tuple[Any, float]:
        return np.array(value, "float32"), 1.0

    def decode(self, prediction: Any, example: Any, encoding: Any) -> dict[str, Any]:
        count = len(words_of(example))
        return {"pairs": prediction[:count, :count].tolist()}

    def loss(self, target: Any, outputs: Any, weight: Any, features: Any) -> tuple[Any, Any]:
        return ops.sum(ops.square(outputs - target) * weight), ops.sum(weight)


def model_and_data() -> tuple[Any, Any]:
    rows = [
        {"text": ["a", "bcd"], "near": [[1, 3], [3, 9]], "size": None},
        {"text": ["ab", "c", "abc"], "near": [[4, 2, 6], [2, 1, 3], [6, 3, 9]], "size": 3.0},
        {"text": ["abcd"], "near": None, "size": 1.0},
    ]
    source = records(rows, label=["near", "size"], fractions=None)
    tasks = [Task("near", Pairs(), source), Task("size", Regression(mean=0.0, scale=1.0), source)]
    encoder = Bag(30, tokenizer=Tokenizer.learn("character", ["abcd"]))
    model = MultiTaskModel(encoder, tasks)
    model.compile(keras.optimizers.SGD(0.01))
    return model, mix(tasks, encoder, batch_size=3, shuffle=False, buckets=1, cache_dir=None)


def test_pairs_of_words_are_trained_and_decoded():
    model, data = model_and_data()
    ((x, y, weight),) = data.as_numpy_iterator()
    assert weight["near"].sum() == 4 + 9 and y["near"].shape == (3, 3, 3)
    products = np.array([1, 3, 3, 9, 4, 2, 6, 2, 1, 3, 6, 3, 9.0])
    history = model.fit(data, epochs=1, verbose=0).history
    assert history["near_loss"][0] == pytest.approx((products**2).mean(), rel=1e-5)  # The mean over 13 pairs.
    assert float(model.heads["near"].scale) == pytest.approx(0.01 * 2 * (products**2).mean(), rel=1e-4)
    model.heads["near"].scale.assign(1.0)
    decoded = model.predict_examples([next(model.tasks[0].sources[0].examples("train"))], ["near"])
    assert decoded["near"] == [{"pairs": [[1.0, 3.0], [3.0, 9.0]]}]


def test_weights_of_such_targets_must_be_given():
    model, data = model_and_data()
    ((x, y, _),) = data.as_numpy_iterator()
    with pytest.raises(ValueError, match=r"Targets of the axes \['words', 'words'\] come with sample weights of these axes"):
        model.evaluate(x, y, verbose=0)
