import numpy as np
import pytest
from scipy.optimize import nnls

from mtl.balancing import DualProj

J = np.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])


def test_golden():
    np.testing.assert_allclose(DualProj().weights(J @ J.T), [0.61111, 0.5], atol=1e-5)


@pytest.mark.parametrize("tasks", [2, 5, 16])
def test_against_scipy(tasks):
    rows = np.random.default_rng(tasks).normal(size=(tasks, 10))
    y, _ = nnls(rows.T, -rows.mean(0))
    np.testing.assert_allclose(DualProj().aggregate(rows), rows.mean(0) + rows.T @ y, atol=1e-7)


def test_regularized():
    """Of two tasks, by hand: v_1 = -G_12 v_2 / (G_11 + 0.01 (G_11 + G_22)), v_2 = 1 / 2."""
    np.testing.assert_allclose(DualProj(0.01).weights(J @ J.T), [11 / 18.56, 0.5], rtol=1e-6)
