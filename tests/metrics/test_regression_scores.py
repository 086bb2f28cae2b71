import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn.metrics import mean_absolute_error, mean_squared_error

from mtl.metrics import RegressionScores


def fill(metric, target, predicted, weight):
    outputs = (predicted - metric.mean) / metric.scale
    metric.update_state(target.astype("float32"), outputs.astype("float32"), weight.astype("float32"), {})
    return {name: float(value) for name, value in metric.result().items()}


@pytest.mark.parametrize(("mean", "scale"), [(0.0, 1.0), (2000.0, 10.0), (-0.01, 0.001)])
def test_equals_scipy_in_the_labels_unit(mean, scale):
    rng = np.random.default_rng(4)
    target = rng.normal(mean, scale, 300)
    predicted = target + rng.normal(0.3 * scale, scale, 300)
    weight = rng.integers(0, 2, 300)
    result = fill(RegressionScores(mean, scale), target, predicted, weight)
    target, predicted = target[weight > 0], predicted[weight > 0]
    mse = mean_squared_error(target, predicted)
    expected = {
        "mae": mean_absolute_error(target, predicted),
        "mse": mse,
        "rmse": np.sqrt(mse),
        "pearson": pearsonr(target, predicted).statistic,
    }
    assert list(result) == list(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(result[name], value, rtol=2e-6, err_msg=name)


def test_fractional_weights():
    rng = np.random.default_rng(5)
    target, predicted, weight = rng.normal(size=100), rng.normal(size=100), rng.random(100)
    result = fill(RegressionScores(), target, predicted, weight)
    np.testing.assert_allclose(result["mae"], mean_absolute_error(target, predicted, sample_weight=weight), rtol=1e-5)
    np.testing.assert_allclose(result["mse"], mean_squared_error(target, predicted, sample_weight=weight), rtol=1e-5)
    covariance = np.cov(target, predicted, aweights=weight)
    expected = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
    np.testing.assert_allclose(result["pearson"], expected, rtol=1e-4)


def test_clips_predictions_as_the_head_does():
    metric = RegressionScores(10.0, 2.0, range=(8, 12))
    result = fill(metric, np.array([8.0, 12.0]), np.array([-100.0, 13.0]), np.ones(2))
    assert result == pytest.approx({"mae": 0, "mse": 0, "rmse": 0, "pearson": 1})


def test_rows_of_weight_zero_may_hold_anything():
    metric = RegressionScores()
    result = fill(metric, np.array([np.nan, np.inf, 1.0]), np.array([np.inf, np.nan, 3.0]), np.array([0, 0, 1]))
    assert result == {"mae": 2, "mse": 4, "rmse": 2, "pearson": 0}


def test_correlation_without_spread_is_zero():
    values = np.arange(9.0)
    assert fill(RegressionScores(), values, np.full(9, 0.1), np.ones(9))["pearson"] == 0
    assert fill(RegressionScores(), np.full(9, 1 / 3), values, np.ones(9))["pearson"] == 0


def test_takes_targets_with_a_dimension_of_one():
    metric = RegressionScores()
    metric.update_state(np.array([[1.0], [2.0]]), np.array([1.0, 4.0]), np.ones(2), {})
    assert float(metric.result()["mae"]) == 1


def test_is_nan_without_rows():
    assert all(np.isnan(float(value)) for value in RegressionScores().result().values())


@pytest.mark.parametrize(("centre", "spread"), [(2005, 9), (2005, 0.8), (-3e5, 1.0), (1e6, 2.0), (1e-3, 1e-6)])
@pytest.mark.parametrize("replicas", [1, 3])
def test_correlation_of_labels_far_from_zero(centre, spread, replicas):
    """As SciPy's in float64, of the same float32 numbers, in batches of different sizes and on several replicas."""
    rng = np.random.default_rng(6)
    target = rng.normal(centre, spread, 4001).astype("float32")
    outputs = (target + rng.normal(0, 0.8 * spread, 4001)).astype("float32")
    weight = (rng.random(4001) < 0.9).astype("float32")
    metric = RegressionScores()
    for places in np.split(np.arange(4001), [1, 2, 40, 1000, 3900]):
        parts = np.array_split(places, replicas)
        found = [np.asarray(metric.statistics(target[p], outputs[p], weight[p], {})) for p in parts]
        metric.accumulate(found[0] if replicas == 1 else np.stack(found))
    kept = weight > 0
    expected = pearsonr(target[kept].astype("float64"), outputs[kept].astype("float64")).statistic
    assert float(metric.result()["pearson"]) == pytest.approx(expected, abs=3e-7)


def test_config_round_trips():
    metric = RegressionScores(1.0, 2.0, range=(0, 3))
    assert RegressionScores.from_config(metric.get_config()).get_config() == metric.get_config()
