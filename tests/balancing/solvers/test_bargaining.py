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
