import numpy as np
from sklearn.metrics import accuracy_score

from mtl.metrics import SubsetAccuracy


def test_equals_scikit_learn():
    rng = np.random.default_rng(3)
    gold = rng.integers(0, 2, (150, 2))
    probability = rng.random((150, 2)).astype("float32")
    weight = rng.random(150) * rng.integers(0, 2, 150)
    metric = SubsetAccuracy(0.4)
    metric.update_state(gold, np.log(probability / (1 - probability)), weight.astype("float32"), {})
    expected = accuracy_score(gold, probability >= 0.4, sample_weight=weight)
    np.testing.assert_allclose(metric.result(), expected, rtol=1e-5)


def test_rows_of_weight_zero_may_hold_anything():
    metric = SubsetAccuracy()
    metric.update_state(np.array([[np.nan], [1.0]]), np.array([[np.nan], [1.0]]), np.array([0.0, 1.0]), {})
    np.testing.assert_array_equal(metric.total, [1, 1])


def test_is_nan_without_rows():
    assert np.isnan(float(SubsetAccuracy().result()))


def test_config_round_trips():
    metric = SubsetAccuracy(0.4)
    assert SubsetAccuracy.from_config(metric.get_config()).get_config() == metric.get_config()
