"""Targets of axes of their own: one number for each pair of words, in one model with a task of one number per row."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
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
    columns: tuple[Column, ...] = (Column("letters", ("words",), "float32", values=letters),)

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


class Inside(Head):
    """Takes a mark of each word, and has a target for each word: the mean of the words' lengths times `scale`."""

    target = Target(("words",), "float32")
    columns: tuple[Column, ...] = (Column("word_marks", ("words",)), Pairs.columns[0])

    def build(self, features_shape: Any) -> None:
        self.scale = self.add_weight(name="scale", shape=(), initializer="ones")

    def call(self, features: Any, training: Any = None) -> Any:
        marks = ops.cast(features["word_marks"], "float32")
        mean = ops.sum(features["letters"] * marks, -1) / ops.sum(marks, -1)
        return self.scale * mean[:, None] * marks

    def encode(self, value: Any, example: Any, encoding: Any) -> tuple[Any, float]:
        return np.array(value, "float32"), 1.0

    def decode(self, prediction: Any, example: Any, encoding: Any) -> dict[str, Any]:
        return {"values": prediction[: len(words_of(example))].tolist()}

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


class Bare(Pairs):
    columns: tuple[Column, ...] = ()

    def call(self, features: Any, training: Any = None) -> Any:
        return self.scale * features["pooled"][:, :1, None]


def test_a_row_that_one_task_labels_has_the_lengths_of_its_labels_whatever_the_tasks_order():
    rows = [{"text": "a bcd", "near": None, "far": [[1, 2], [3, 4]]}, {"text": "abc", "near": [[5]], "far": None}] * 2
    source = records(rows, label=["near", "far"], fractions=None)
    tasks = [Task(name, Bare(), source) for name in ("near", "far")]
    encoder = Bag(30, tokenizer=Tokenizer.learn("character", ["abcd"]))
    sums = {"near": 10.0, "far": 20.0}
    for order in (tasks, tasks[::-1]):
        data = mix(order, encoder, batch_size=2, shuffle=False, buckets=2, cache_dir=None)
        batches = [(y, weight) for _, y, weight in data.as_numpy_iterator()]
        assert {name: sum(y[name].sum() for y, _ in batches) for name in sums} == sums
        assert {name: sum(weight[name].sum() for _, weight in batches) for name in sums} == {"near": 2, "far": 8}


def test_words_are_marked_alike_in_training_and_predicting():
    texts = ["a bcd", "ab c abc d", "abcd", "a b c d a b c d a"]
    words = [[len(word) for word in text.split()] for text in texts]
    means = [np.mean(lengths) for lengths in words]
    rows = [{"text": t, "mean": [m] * len(w)} for t, m, w in zip(texts, means, words, strict=True)]
    task = Task("mean", Inside(), records(rows, label="mean", fractions=None))
    model = MultiTaskModel(Bag(30, tokenizer=Tokenizer.learn("character", ["abcd"])), task)
    model.compile(keras.optimizers.SGD(0.0))
    data = mix([task], model.encoder, batch_size=2, shuffle=False, buckets=3, cache_dir=None)
    assert len({x["word_marks"].shape[1] for x, _, _ in data.as_numpy_iterator()}) > 1
    assert model.evaluate(data, verbose=0, return_dict=True)["loss"] == pytest.approx(0.0, abs=1e-10)
    for predicted, mean, lengths in zip(model.predict_text(texts)["mean"], means, words, strict=True):
        np.testing.assert_allclose(predicted["values"], [mean] * len(lengths), rtol=1e-6)
    for text, mean in zip(texts, means, strict=True):
        assert model.predict_text([text])["mean"][0]["values"][0] == pytest.approx(mean)


def test_an_export_leaves_out_the_columns_of_tasks_that_it_does_not_hold(tmp_path):
    class Served(Pairs):
        def serve(self, prediction: Any, tokens: Any) -> Any:
            return {"pairs": prediction}

    rows = [{"text": "a bcd", "near": [[1, 3], [3, 9]], "size": 1.0}, {"text": "ab", "near": [[4]], "size": 2.0}]
    source = records(rows, label=["near", "size"], fractions=None)
    encoder = Bag(30, tokenizer=Tokenizer.learn("character", ["abcd"]))
    model = MultiTaskModel(encoder, [Task("near", Served(), source), Task("size", Regression(), source)])
    with pytest.raises(ValueError, match="the column 'letters' is made on the host. Export the tasks that do without it"):
        model.export_text(tmp_path / "all")
    served = tf.saved_model.load(str(model.export_text(tmp_path / "size", ["size"]))).signatures["serving_default"]
    expected = model.predict_text(["ab c"], ["size"])["size"][0]["value"]
    assert float(served(texts=tf.constant(["ab c"]))["size/value"][0]) == pytest.approx(expected, rel=1e-5)
