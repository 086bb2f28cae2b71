import math

import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import pearsonr, spearmanr

from mtl.data.encoding import Encoding
from mtl.data.example import Example
from mtl.heads import Regression

EXAMPLE = Example("a text")
ABOUT = (EXAMPLE, Encoding(np.zeros(1, "int32"), np.zeros(1, "int32"), np.zeros([1, 2], "int32"), EXAMPLE.text))


def test_learns_mean_and_scale():
    head = Regression()
    assert not head.ready
    head.learn(["2", 4.0, 9])
    assert head.ready
    assert (head.mean, head.scale) == pytest.approx((5.0, math.sqrt((9 + 1 + 16) / 3)))


def test_examples_count_with_their_weights():
    """An example of weight 2 is two examples."""
    heads = Regression(), Regression()
    heads[0].learn([1.0, 4.0, 7.0], [2.0, 1.0, 3.0])
    heads[1].learn([1.0, 1.0, 4.0, 7.0, 7.0, 7.0])
    assert all((head.mean, head.scale) == pytest.approx((4.5, math.sqrt(7.25))) for head in heads)


def test_keeps_what_was_given():
    head = Regression(mean=0.0)
    assert not head.ready
    head.learn([1.0, 3.0])
    assert (head.mean, head.scale) == (0.0, 1.0)
    assert Regression(mean=0.0, scale=1.0).ready


def test_equal_labels_have_scale_one():
    head = Regression()
    head.learn([0.1] * 3)
    assert (head.mean, head.scale) == (pytest.approx(0.1), 1.0)


@pytest.mark.parametrize(("loss", "values"), [("mse", (0.25, 4.0)), ("mae", (0.5, 2.0)), ("huber", (0.125, 1.5))])
def test_loss_is_in_standardised_units(loss, values):
    head = Regression(loss=loss, mean=10.0, scale=4.0)
    target, outputs, weight = np.array([12.0, 6.0]), np.array([1.0, 1.0]), np.array([1.0, 0.5])
    result = [float(value) for value in head.loss(target, outputs, weight, {})]
    assert result == [values[0] + 0.5 * values[1], 1.5]
    assert [float(value) for value in head.loss(target[:, None], outputs, weight, {})] == result


def test_predicts_in_the_labels_unit_within_the_range():
    outputs = np.array([-10.0, 0.5, 10.0], "float32")
    assert Regression(mean=10.0, scale=4.0).activate(outputs, {}).numpy().tolist() == [-30, 12, 50]
    head = Regression(mean=10.0, scale=4.0, range=(0, 20))
    assert head.activate(outputs, {}).numpy().tolist() == [0, 12, 20]
    assert head.decode(np.float32(12.0), *ABOUT) == {"value": 12.0}


def test_rows_without_label_may_hold_nan():
    outputs = tf.constant([np.nan, 3.0])
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        sums = Regression(mean=0.0, scale=1.0).loss(np.array([np.inf, 1.0]), outputs, np.array([0.0, 1.0]), {})
    assert [float(value) for value in sums] == [4.0, 1.0]
    assert tape.gradient(sums[0], outputs).numpy().tolist() == [0.0, 4.0]


def test_encodes_numbers_and_their_strings():
    head = Regression()
    assert [head.encode(value, *ABOUT) for value in ("-3.5", 2, np.float32(0.5))] == [(-3.5, 1.0), (2.0, 1.0), (0.5, 1.0)]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("high", "Regression takes a number, got 'high'."),
        ([1, 2], "Regression takes a number, got \\[1, 2\\]."),
        ("nan", "Regression takes finite numbers, got 'nan'; leave the label empty where it is missing"),
        (math.inf, "Regression takes finite numbers, got inf"),
        (5.5, "The label 5.5 is outside `range` \\(0, 5\\)"),
    ],
)
def test_bad_labels(value, message):
    with pytest.raises(ValueError, match=message):
        Regression(range=(0, 5)).encode(value, *ABOUT)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loss": "hubr"}, "Unknown regression loss 'hubr'; did you mean 'huber'[?]"),
        ({"mean": math.nan}, "`mean` as a finite number or None; got nan"),
        ({"scale": 0.0}, "`scale` as a finite number above 0 or None; got 0.0"),
        ({"range": (3, 3)}, "`range` is \\(low, high\\) with low below high, got \\(3, 3\\)"),
        ({"range": (1, 2, 3)}, "`range` is \\(low, high\\)"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Regression(**arguments)


def test_nothing_to_learn_from():
    with pytest.raises(ValueError, match="Regression needs labels to learn `mean` and `scale` from, got none"):
        Regression().learn([])


def test_not_ready_and_unknown_features():
    features = {"pooled": np.ones((2, 8), "float32")}
    with pytest.raises(ValueError, match="mean and scale yet: pass `mean` and `scale` [(]0.0 and 1.0"):
        Regression()(features)
    with pytest.raises(ValueError, match="Unknown features 'poled'; did you mean 'pooled'[?]"):
        Regression(mean=0.0, scale=1.0, features="poled")(features)


def test_report_equals_scipy():
    rng = np.random.default_rng(0)
    gold = rng.normal(size=30)
    guess = gold + rng.normal(size=30)
    result = Regression().report([str(value) for value in gold], [{"value": value} for value in guess], [EXAMPLE] * 30)
    mse = np.square(gold - guess).mean()
    expected = {"mae": np.abs(gold - guess).mean(), "mse": mse, "rmse": np.sqrt(mse)}
    expected |= {"pearson": pearsonr(gold, guess)[0], "spearman": spearmanr(gold, guess)[0]}
    assert result == pytest.approx(expected)


def test_report_without_spread():
    result = Regression().report([1.0, 2.0], [{"value": 1.0}] * 2, [EXAMPLE] * 2)
    assert (result["mae"], result["pearson"], result["spearman"]) == (0.5, 0.0, 0.0)


def test_report_equals_the_metrics_in_the_graph():
    rng = np.random.default_rng(0)
    head = Regression(mean=50.0, scale=10.0, range=(30, 70))
    gold, outputs = rng.uniform(30, 70, 40).astype("float32"), rng.normal(0, 2, 40).astype("float32")
    metric = head.make_metrics()["scores"]
    metric.update_state(gold, outputs, np.ones(40), {})
    predicted = [head.decode(value, *ABOUT) for value in head.activate(outputs, {}).numpy()]
    report = head.report(gold.tolist(), predicted, [EXAMPLE] * 40)
    for name, value in metric.result().items():
        assert float(value) == pytest.approx(report[name], rel=1e-5), name
