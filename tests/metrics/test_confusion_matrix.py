import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import accuracy_score, confusion_matrix, matthews_corrcoef, precision_recall_fscore_support

from mtl.metrics import ConfusionMatrix


def random_rows(kind, rows=200, classes=5):
    rng = np.random.default_rng(1)
    weight = {
        "ones": np.ones(rows),
        "zeros and ones": rng.integers(0, 2, rows),
        "fractions": rng.random(rows) * rng.integers(0, 2, rows),
    }[kind].astype("float32")
    # Class 4 never occurs in gold, class 0 nowhere.
    return rng.integers(1, classes - 1, rows), rng.integers(1, classes, rows), weight


def fill(gold, predicted, weight, classes):
    metric = ConfusionMatrix(classes)
    logits = np.eye(classes, dtype="float32")[predicted] * 3
    metric.update_state(gold, logits, weight, {})
    return metric


@pytest.mark.parametrize("kind", ["ones", "zeros and ones", "fractions"])
def test_equals_scikit_learn(kind):
    gold, predicted, weight = random_rows(kind)
    metric = fill(gold, predicted, weight, 5)
    kept = weight > 0
    gold, predicted, weight = gold[kept], predicted[kept], weight[kept]
    np.testing.assert_allclose(metric.total, confusion_matrix(gold, predicted, labels=range(5), sample_weight=weight), rtol=1e-5)
    precision, recall, f1, _ = precision_recall_fscore_support(
        gold, predicted, average="macro", sample_weight=weight, zero_division=0
    )
    result = metric.result()
    assert list(result) == ["accuracy", "macro_f1", "macro_precision", "macro_recall", "mcc"]
    expected = {
        "accuracy": accuracy_score(gold, predicted, sample_weight=weight),
        "macro_f1": f1,
        "macro_precision": precision,
        "macro_recall": recall,
        "mcc": matthews_corrcoef(gold, predicted, sample_weight=weight),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(result[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


def test_takes_every_form_of_target():
    logits = np.eye(3, dtype="float32")[[1, 1]]
    for target in ([0, 1], [[0], [1]], np.eye(3)[[0, 1]], [[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]]):
        metric = ConfusionMatrix(3)
        metric.update_state(np.array(target), logits, np.ones(2), {})
        np.testing.assert_array_equal(metric.total, [[0, 1, 0], [0, 1, 0], [0, 0, 0]])


def test_rows_of_weight_zero_may_hold_anything():
    metric = ConfusionMatrix(2)
    logits = np.array([[np.nan, np.inf], [np.nan, np.nan], [0.0, 1.0]], "float32")
    metric.update_state(np.array([-1, 99, 1]), logits, np.array([0.0, 0.0, 1.0]), {})
    np.testing.assert_array_equal(metric.total, [[0, 0], [0, 1]])


def test_is_finite_with_one_class_and_nan_without_rows():
    assert all(np.isnan(float(value)) for value in ConfusionMatrix(3).result().values())
    rows = 7
    constant = fill(np.ones(rows, int), np.arange(rows) % 3, np.full(rows, 0.1, "float32"), 3)
    assert float(constant.result()["mcc"]) == 0
    perfect = fill(np.ones(rows, int), np.ones(rows, int), np.full(rows, 0.1, "float32"), 3).result()
    assert (float(perfect["accuracy"]), float(perfect["macro_f1"]), float(perfect["mcc"])) == (1, 1, 0)


def test_counts_beyond_what_float32_counts():
    """2^24 + 1 is no float32: a step more would be lost."""
    metric = ConfusionMatrix(2)
    metric.accumulate(tf.constant([[2.0**24, 0.0], [0.0, 2.0**24]]))
    for _ in range(3):
        metric.accumulate(tf.constant([[0.0, 1.0], [1.0, 0.0]]))
    assert metric.total.numpy().tolist() == [[2.0**24, 3.0], [3.0, 2.0**24]]
    # Of the same counts, in whole numbers: mcc = accuracy - error of a balanced table.
    assert 1 - float(metric.total.numpy()[0, 1]) * 2 / (2**24 + 3) == pytest.approx(float(metric.result()["mcc"]), abs=1e-7)


def test_stays_exact_for_many_rows():
    metric = ConfusionMatrix(2)
    metric.accumulate(tf.constant([[4e6, 1e6], [2e6, 3e6]]))
    # (4 * 3 - 1 * 2) / sqrt(5 * 5 * 6 * 4)
    np.testing.assert_allclose(metric.result()["mcc"], 10 / np.sqrt(600), rtol=1e-6)


def test_runs_in_a_graph_of_any_number_of_rows():
    metric = ConfusionMatrix(2)
    signature = [tf.TensorSpec([None], tf.int32), tf.TensorSpec([None, 2]), tf.TensorSpec([None])]
    statistics = tf.function(lambda t, o, w: metric.statistics(t, o, w, {}), input_signature=signature, jit_compile=True)
    np.testing.assert_array_equal(statistics([0, 1], [[1.0, 0.0], [1.0, 0.0]], [1.0, 2.0]), [[1, 0], [2, 0]])


def test_config_round_trips():
    metric = ConfusionMatrix(3, name="other")
    assert ConfusionMatrix.from_config(metric.get_config()).get_config() == metric.get_config()
