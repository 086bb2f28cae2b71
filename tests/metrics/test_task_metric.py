import numpy as np
import pytest
from keras import ops

from mtl.metrics import TaskMetric


class Sums(TaskMetric):
    """The weighted sums of targets and of ones."""

    def __init__(self):
        super().__init__((2,), name="sums")

    def statistics(self, target, outputs, weight, features):
        return ops.stack([ops.sum(weight * target), ops.sum(weight)])

    def scores(self, state):
        return state[0] / state[1]


def test_statistics_add_up():
    metric = Sums()
    metric.update_state(np.array([2.0, 100.0]), None, np.array([1.0, 0.0]), {})
    metric.update_state(np.array([4.0, 6.0]), None, np.array([1.0, 2.0]), {})
    assert np.asarray(metric.total).tolist() == [18.0, 4.0] and float(metric.result()) == 4.5
    replicas = [metric.statistics(np.array([value]), None, np.array([1.0]), {}) for value in (1.0, 5.0)]
    metric.reset_state()
    metric.accumulate(replicas[0] + replicas[1])
    assert float(metric.result()) == 3.0


def test_state_is_float64_and_the_result_float32():
    metric = Sums()
    assert np.isnan(float(metric.result()))
    metric.accumulate(np.array([1, 2], "int64"))
    assert np.asarray(metric.total).dtype == np.float64 and np.asarray(metric.total).tolist() == [1.0, 2.0]
    assert metric.result().dtype == "float32"
    for _ in range(3):
        metric.accumulate(np.array([2.0**24, 1.0], "float32"))
    assert np.asarray(metric.total).tolist() == [3 * 2.0**24 + 1, 5.0]


def test_the_statistics_of_several_replicas():
    metric = Sums()
    metric.accumulate(np.array([[1.0, 1.0], [5.0, 1.0]], "float32"))
    assert float(metric.result()) == 3.0


def test_the_base_has_no_statistics():
    with pytest.raises(NotImplementedError):
        TaskMetric(()).update_state(None, None, None, {})
