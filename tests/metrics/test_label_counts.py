import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from mtl.metrics import LabelCounts


@pytest.mark.parametrize("threshold", [0.5, 0.3])
@pytest.mark.parametrize("fractional", [False, True])
def test_equals_scikit_learn(threshold, fractional):
    rng = np.random.default_rng(2)
    gold = rng.integers(0, 2, (150, 4))
    gold[:, 3] = 0
    probability = rng.random((150, 4)).astype("float32")
    probability[:, 2] *= 0.2
    weight = rng.integers(0, 2, 150) * (rng.random(150) if fractional else 1.0)
    metric = LabelCounts(4, threshold)
    metric.update_state(gold, np.log(probability / (1 - probability)), weight.astype("float32"), {})
    result = metric.result()
    for kind in ("micro", "macro"):
        precision, recall, f1, _ = precision_recall_fscore_support(
            gold, probability >= threshold, average=kind, sample_weight=weight, zero_division=0
        )
        for name, value in (("precision", precision), ("recall", recall), ("f1", f1)):
            np.testing.assert_allclose(result[f"{kind}_{name}"], value, rtol=1e-5, err_msg=f"{kind}_{name}")


def test_counts():
    metric = LabelCounts(2)
    gold = np.array([[1, 0], [1, 1], [0, 1]])
    logits = np.array([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0]])
    metric.update_state(gold, logits, np.array([1.0, 2.0, 4.0]), {})
    np.testing.assert_array_equal(metric.total, [[1, 0, 2, 4], [2, 1, 4, 0]])


def test_rows_of_weight_zero_may_hold_anything():
    metric = LabelCounts(2)
    nan = np.nan
    metric.update_state(np.array([[nan, -1], [1, 0]]), np.array([[nan, np.inf], [1.0, -1.0]]), np.array([0.0, 1.0]), {})
    np.testing.assert_array_equal(metric.total, [[1, 0, 0, 0], [0, 0, 0, 1]])


def test_rows_of_which_nothing_holds_are_rows():
    metric = LabelCounts(2)
    metric.update_state(np.zeros((1, 2)), np.full((1, 2), -1.0), np.ones(1), {})
    assert all(float(value) == 0 for value in metric.result().values())


def test_is_nan_without_rows():
    assert all(np.isnan(float(value)) for value in LabelCounts(3).result().values())


def test_config_round_trips():
    metric = LabelCounts(3, 0.4)
    assert LabelCounts.from_config(metric.get_config()).get_config() == metric.get_config()
