import keras
import pytest

from mtl.balancing import Static


def combine(balancer, losses, active=(True, True, True)):
    balancer.bind(["a", "b", "c"])
    return float(balancer.combine(list(losses), list(active)))


def test_sum_and_mean_by_hand():
    assert combine(Static(), [1.0, 2.0, 4.0]) == 7.0
    assert combine(Static({"b": 0.5, "c": 0.0}), [1.0, 2.0, 4.0]) == 2.0
    assert combine(Static(reduction="mean"), [1.0, 2.0, 6.0]) == 3.0
    assert combine(Static({"a": 3.0, "c": 0.0}, "mean"), [1.0, 2.0, 6.0]) == 1.25  # (3 + 2) / 4


def test_a_missing_task_counts_for_nothing():
    assert combine(Static(reduction="mean"), [1.0, 2.0, 0.0], [True, True, False]) == 1.5
    assert combine(Static(reduction="mean"), [0.0, 0.0, 0.0], [False] * 3) == 0.0


@pytest.mark.parametrize(("reduction", "expected"), [("sum", [3.0, 1.0, 0.0]), ("mean", [0.75, 0.25, 0.0])])
def test_what_each_task_counts_now(reduction, expected):
    balancer = Static({"a": 3.0, "c": 0.0}, reduction)
    balancer.bind(["a", "b", "c"])
    assert balancer.current_weights() == dict(zip("abc", expected, strict=True))


def test_bad_settings():
    with pytest.raises(ValueError, match="weights of at least 0; got -1.0 for task 'a'"):
        Static({"a": -1})
    with pytest.raises(ValueError, match="Unknown reduction 'avg'"):
        Static(reduction="avg")
    with pytest.raises(ValueError, match="Unknown task in the balancer's weights 'd'"):
        combine(Static({"d": 1.0}), [0.0, 0.0, 0.0])


def test_configuration_and_subset():
    balancer = Static({"a": 2.0, "b": 3.0}, "mean")
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(balancer))
    assert copy.get_config() == {"weights": {"a": 2.0, "b": 3.0}, "reduction": "mean"}
    assert balancer.subset(["b"]).get_config() == {"weights": {"b": 3.0}, "reduction": "mean"}
