import numpy as np
import pytest
import tensorflow as tf

from mtl.balancing.solvers.bargaining import bargain
from mtl.balancing.solvers.gramian import Gramian


def solve(jacobian, alpha=1.0):
    return bargain(Gramian.of(tf.constant(jacobian @ jacobian.T), tf.fill([len(jacobian)], True))[0], alpha).numpy()


@pytest.mark.parametrize("alpha", [0.3, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("tasks", [1, 2, 5, 64])
@pytest.mark.parametrize("spread", [0, 5])
def test_it_solves_its_equation(alpha, tasks, spread):
    rng = np.random.default_rng(tasks)
    rows = rng.normal(size=(tasks, 2 * tasks + 1)) * 10.0 ** rng.uniform(-spread, spread, size=(tasks, 1))
    weights = solve(rows, alpha)
    d = rows.T @ weights
    error = (rows @ d - weights ** (-1 / alpha)) / (np.linalg.norm(rows, axis=1) * np.linalg.norm(d))
    assert (weights > 0).all() and np.abs(error).max() < 1e-9
    if spread == 0:
        np.testing.assert_allclose(rows @ d * weights ** (1 / alpha), 1.0, rtol=1e-7)


def test_gradients_of_0_and_stationary_ones():
    assert solve(np.array([[2.0, 0.0], [0.0, 0.0]])) == pytest.approx([0.5, 0.0])
    row = np.array([[1.0, 2.0]])
    weights = solve(np.concatenate([row, -row]))
    assert np.isfinite(weights).all() and weights[0] == pytest.approx(weights[1])


@pytest.mark.parametrize("alpha", [0.3, 1.0, 2.0, 10.0])
@pytest.mark.parametrize("spread", [0, 2])
def test_at_a_stationary_point_what_is_left_cancels(alpha, spread):
    """Three gradients of a plane, whose sum with weights z is 0; the weights of unit gradients are along z."""
    rng = np.random.default_rng(0)
    rows, z = rng.normal(size=(3, 8)), np.array([0.2, 0.9, 0.4])
    rows[2] = -(z[:2] @ rows[:2]) / z[2]
    lengths = 10.0 ** rng.uniform(-spread, spread, size=3)
    weights = solve(rows * lengths[:, None], alpha)
    np.testing.assert_allclose(weights * lengths / z, (weights * lengths / z)[0], rtol=1e-5)
    assert np.linalg.norm((rows * lengths[:, None]).T @ weights) < 1e-6 * np.linalg.norm(weights * lengths)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("angle", [1e-1, 1e-2, 3e-3])
def test_near_opposite_in_single_precision(alpha, angle):
    """Two unit gradients, by hand: `(1 + cos) w = w^{-1 / alpha}`."""
    rows = np.array([[1.0, 0.0], [-np.cos(angle), np.sin(angle)]], "float32")
    found = bargain(Gramian.of(tf.constant(rows @ rows.T), tf.fill([2], True))[0], alpha)
    expected = (2 * np.sin(angle / 2) ** 2) ** (-alpha / (1 + alpha))
    np.testing.assert_allclose(found, [expected, expected], rtol=5e-2)
