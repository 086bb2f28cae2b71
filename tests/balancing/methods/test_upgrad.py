import numpy as np
import pytest
from scipy.optimize import nnls

from mtl.balancing import PCGrad, UPGrad

J = np.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])


def test_golden():
    np.testing.assert_allclose(UPGrad().weights(J @ J.T), [1.11111, 0.78947], atol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_of_two_tasks_it_is_half_of_pcgrad(seed):
    rows = np.random.default_rng(seed).normal(size=(2, 4))
    np.testing.assert_allclose(UPGrad().aggregate(rows), PCGrad().aggregate(rows) / 2, atol=1e-9)


@pytest.mark.parametrize("tasks", [3, 5, 16])
def test_against_scipy(tasks):
    rows = np.random.default_rng(tasks).normal(size=(tasks, 10))
    projected = [row + rows.T @ nnls(rows.T, -row)[0] for row in rows]
    direction = UPGrad().aggregate(rows).numpy()
    np.testing.assert_allclose(direction, np.mean(projected, axis=0), atol=1e-7)
    assert (rows @ direction).min() > -1e-9


def test_regularized():
    np.testing.assert_allclose(UPGrad(0.01).weights(J @ J.T), [0.5 + 11 / 18.56, 0.5 + 11 / 38.56], rtol=1e-6)
