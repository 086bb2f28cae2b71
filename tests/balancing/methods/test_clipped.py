import numpy as np
import pytest
import tensorflow as tf

from mtl.balancing import Clipped

JACOBIAN = np.array([[3.0, 4.0], [0.0, 0.5], [-6.0, 8.0]])


def test_each_gradient_is_clipped_by_itself():
    # Lengths 5, 0.5 and 10, of which the first and the last are brought to 1.
    assert Clipped().aggregate(JACOBIAN).numpy() == pytest.approx([0.6 - 0.6, 0.8 + 0.5 + 0.8])
    assert Clipped().weights(JACOBIAN @ JACOBIAN.T).numpy() == pytest.approx([0.2, 1.0, 0.1])


def test_bounds_by_task():
    balancer = Clipped(2.0, {"a": float("inf"), "b": 0.25})
    balancer.bind(["a", "b", "c"])
    assert balancer.weights(JACOBIAN @ JACOBIAN.T).numpy() == pytest.approx([1.0, 0.5, 0.2])
    assert balancer.subset(["b", "c"]).get_config() == {"norm": 2.0, "norms": {"b": 0.25}}


@pytest.mark.parametrize("seed", range(5))
def test_tensorflow_clips_the_same(seed):
    jacobian = np.random.default_rng(seed).normal(size=(4, 30)) * [[0.01], [0.1], [1.0], [100.0]]
    expected = sum(tf.clip_by_norm(row, 1.5).numpy() for row in jacobian)
    assert Clipped(1.5).aggregate(jacobian).numpy() == pytest.approx(expected, rel=1e-9)


def test_a_gradient_of_zero_stays():
    assert Clipped().aggregate([[0.0, 0.0], [0.0, 2.0]]).numpy().tolist() == [0.0, 1.0]


@pytest.mark.parametrize("given", [{"norm": 0.0}, {"norm": float("nan")}, {"norms": {"a": -1.0}}])
def test_bad_bounds(given):
    with pytest.raises(ValueError, match="Clipped expects (bounds above 0|`norm` as a number); got"):
        Clipped(**given)
