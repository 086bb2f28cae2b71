import keras
import numpy as np
import pytest

from mtl.balancing import CRMOGM, DWA, MGDA, GradDrop, Static, UncertaintyWeighting
from tests.two_tasks import make_model


def test_of_weights():
    balancer = CRMOGM(MGDA(), momentum=0.8)
    found = [balancer.weights(np.diag([1.0, x])).numpy() for x in (1.0, 4.0, 0.25)]
    second = 0.8 * 0.5 + 0.2 * 0.8
    np.testing.assert_allclose([w[0] for w in found], [0.5, second, 0.8 * second + 0.2 * 0.2], rtol=1e-6)


def test_a_task_that_misses_a_step_keeps_its_average():
    balancer = CRMOGM(MGDA(), momentum=0.5)
    balancer.weights(np.diag([1.0, 4.0]))  # 0.8, 0.2
    balancer.weights(np.diag([1.0, 4.0]), [True, False])
    np.testing.assert_allclose(balancer.weights(np.diag([1.0, 1.0])), [(0.9 + 0.5) / 2, (0.2 + 0.5) / 2], rtol=1e-6)


def test_models_do_not_share_what_it_wraps():
    inner = DWA()
    first, second = (make_model("sgd", CRMOGM(inner)).balancer for _ in range(2))
    assert isinstance(first, CRMOGM) and isinstance(second, CRMOGM)
    assert first.balancer is inner and second.balancer is not inner


def test_of_a_method_for_losses():
    balancer = CRMOGM(Static({"a": 3.0}, "mean"), momentum=0.5)
    balancer.bind(["a", "b"])
    assert float(balancer.combine([1.0, 5.0])) == 2.0  # 0.75, 0.25
    assert float(balancer.combine([1.0, 5.0], [True, False])) == 0.875  # The mean of 0.75 and 1
    assert float(balancer.combine([1.0, 0.0])) == pytest.approx((0.875 + 0.75) / 2)


def test_of_a_method_for_gradients():
    rows = np.random.default_rng(0).normal(size=(3, 9))
    np.testing.assert_allclose(CRMOGM(GradDrop(seed=2)).aggregate(rows), GradDrop(seed=2).aggregate(rows))


def test_it_passes_on_what_happens():
    inner = DWA(temperature=0.1)
    balancer = CRMOGM(inner, momentum=0.0)
    for losses in ([1.0, 1.0], [1.0, 0.5]):
        balancer.combine(losses)
        balancer.after_epoch()
    powers = np.exp([10.0, 5.0])
    np.testing.assert_allclose(balancer.combine([1.0, 0.0]), 2 * powers[0] / powers.sum(), rtol=1e-5)


def test_configuration():
    balancer = CRMOGM(MGDA("loss"), 0.5)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(balancer))
    assert copy.balancer.normalization == "loss" and copy.momentum == 0.5 and copy.uses_losses
    with pytest.raises(ValueError, match="CRMOGM averages weights, and UncertaintyWeighting learns its own"):
        CRMOGM(UncertaintyWeighting()).bind(["a", "b"])
