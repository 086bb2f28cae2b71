import keras
import numpy as np
import pytest
from sklearn.metrics import top_k_accuracy_score

from mtl.metrics import KerasMetric

rng = np.random.default_rng(0)
GOLD, SCORES = rng.integers(0, 4, 60), rng.random((60, 4)).astype("float32")
WEIGHT = (rng.integers(0, 2, 60) * rng.random(60)).astype("float32")


def test_is_the_keras_metric_whatever_the_batches_and_replicas():
    metric = KerasMetric(keras.metrics.SparseTopKCategoricalAccuracy(2, name="top2"))
    assert np.isnan(float(metric.result())) and metric.name == "top2"
    metric.update_state(GOLD[:7], SCORES[:7], WEIGHT[:7], {})
    parts = [np.asarray(metric.statistics(GOLD[p], SCORES[p], WEIGHT[p], {})) for p in (slice(7, 20), slice(20, 60))]
    metric.accumulate(np.stack(parts))
    expected = top_k_accuracy_score(GOLD, SCORES, k=2, labels=range(4), sample_weight=WEIGHT)
    assert float(metric.result()) == pytest.approx(expected, rel=1e-5)


def test_labels_and_weights_by_class():
    gold, scores, weight = (
        rng.integers(0, 2, (60, 4)).astype("float32"),
        rng.random((60, 4)).astype("float32"),
        rng.random((60, 4)),
    )
    gold[0, 0], weight[0, 0] = np.nan, 0.0
    metric = KerasMetric(keras.metrics.AUC(num_thresholds=50))
    metric.update_state(gold, scores, weight.astype("float32"), {})
    alone = keras.metrics.AUC(num_thresholds=50)
    alone.update_state(np.nan_to_num(gold).ravel(), scores.ravel(), weight.ravel())
    assert float(metric.result()) == pytest.approx(float(alone.result()), rel=1e-5)


def test_config_round_trips():
    metric = KerasMetric(keras.metrics.Precision(0.3, name="p"))
    again = KerasMetric.from_config(metric.get_config())
    assert again.get_config() == metric.get_config() and again.name == "p" and again.metric.thresholds == [0.3]


def test_a_state_that_does_not_add_up():
    with pytest.raises(ValueError, match="F1Score expects sums that begin with 0 as its state.*TaskMetric"):
        KerasMetric(keras.metrics.F1Score())


@pytest.mark.parametrize(
    "metric, said",
    [
        (keras.metrics.AUC(multi_label=True, num_labels=3), "got multi_label=True, which wants all classes known. Leave it out"),
        (keras.metrics.AUC(multi_label=True), "got multi_label=True"),
        (keras.metrics.F1Score(), "F1Score expects sums .* got none before the first batch. Write it as a"),
    ],
)
def test_what_cannot_be_shown_single_classes_is_refused(metric, said):
    with pytest.raises(ValueError, match=said):
        KerasMetric(metric)
