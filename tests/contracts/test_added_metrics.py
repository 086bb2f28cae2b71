"""Metrics of one's own at a head: weighted, of labelled rows alone, the same in any batches and on replicas, and saved."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops
from sklearn.metrics import roc_auc_score, top_k_accuracy_score

import mtl
from mtl.metrics import TaskMetric
from tests.tiny import Bag


@keras.saving.register_keras_serializable("tests")
class Bias(TaskMetric):
    """The mean of prediction minus target."""

    def __init__(self, name="bias", **kwargs):
        super().__init__((2,), name=name, **kwargs)

    def statistics(self, target, outputs, weight, features):
        return ops.stack([ops.sum(weight * (outputs - ops.where(weight > 0, target, 0.0))), ops.sum(weight)])

    def scores(self, state):
        return state[0] / state[1]


def make_model():
    keras.utils.set_random_seed(1)
    tasks = [
        mtl.Task(
            "mood", mtl.heads.Classification(4, dropout=0.0, metrics=[keras.metrics.SparseTopKCategoricalAccuracy(2, "top2")])
        ),
        mtl.Task("marks", mtl.heads.MultiLabel(3, dropout=0.0, metrics=[keras.metrics.AUC(5000, name="auc")])),
        mtl.Task("score", mtl.heads.Regression(mean=0.0, scale=1.0, dropout=0.0, metrics=[Bias()])),
    ]
    model = mtl.MultiTaskModel(Bag(), tasks)
    model.compile(keras.optimizers.SGD(0.0))
    return model


def make_data():
    rng = np.random.default_rng(0)
    x = {"token_ids": rng.integers(1, 20, (41, 5)).astype("int32")}
    marks = rng.integers(0, 2, (41, 3)).astype("float32")
    marks[rng.random(marks.shape) < 0.3] = np.nan
    y = {"mood": rng.integers(0, 4, 41), "marks": marks, "score": rng.normal(2005, 3, 41).astype("float32")}
    y["mood"][:5], y["score"][30:] = -1, np.nan
    weight = {name: (rng.integers(0, 3, 41) / 2).astype("float32") for name in y}
    return x, y, weight


def figures(model):
    x, y, weight = make_data()
    return model.evaluate(x, y, sample_weight=weight, batch_size=7, return_dict=True, verbose=0)


def test_equal_scikit_learn_and_are_saved(tmp_path):
    model = make_model()
    x, y, weight = make_data()
    found, outputs = figures(model), model.predict(x, verbose=0)
    mood = np.where(y["mood"] < 0, 0, weight["mood"])
    expected = top_k_accuracy_score(np.maximum(y["mood"], 0), outputs["mood"], k=2, labels=range(4), sample_weight=mood)
    assert found["mood_top2"] == pytest.approx(expected, rel=1e-5)
    known = ~np.isnan(y["marks"])
    rows = np.repeat(weight["marks"][:, None], 3, axis=1)[known]
    assert found["marks_auc"] == pytest.approx(
        roc_auc_score(y["marks"][known], outputs["marks"][known], sample_weight=rows), abs=1e-2
    )
    score = np.where(np.isnan(y["score"]), 0, weight["score"])
    bias = np.average(outputs["score"] - np.nan_to_num(y["score"]), weights=score)
    assert found["score_bias"] == pytest.approx(bias, rel=1e-5)
    model.save(tmp_path / "model.keras")
    assert figures(keras.saving.load_model(tmp_path / "model.keras")) == pytest.approx(found, rel=1e-6)
    history = model.fit(x, y, sample_weight=weight, batch_size=7, verbose=0).history
    assert history["mood_top2"] == pytest.approx([found["mood_top2"]], rel=1e-5)


REPLICAS = """
import tensorflow as tf, json
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from tests.contracts.test_added_metrics import figures, make_model
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    model = make_model()
print(json.dumps(figures(model)))
"""


def test_are_the_same_on_two_replicas():
    import json

    ran = subprocess.run([sys.executable, "-c", REPLICAS], capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert json.loads(ran.stdout.splitlines()[-1]) == pytest.approx(figures(make_model()), rel=1e-5, abs=1e-6)


def test_what_cannot_serve():
    with pytest.raises(TypeError, match="expects metrics that are made; got the class AUC. Call it: AUC"):
        mtl.heads.MultiLabel(2, metrics=[keras.metrics.AUC])
    with pytest.raises(TypeError, match="expects metrics as .*; got str"):
        mtl.heads.MultiLabel(2, metrics=["auc"])
    head = mtl.heads.Classification(2, metrics=[keras.metrics.SparseCategoricalAccuracy("accuracy")])
    with pytest.raises(ValueError, match="has a figure 'accuracy' already. Give the metric another name="):
        mtl.MultiTaskModel(Bag(), mtl.Task("mood", head))
