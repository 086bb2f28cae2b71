import numpy as np
import pytest
from scipy.optimize import minimize

from mtl.balancing import MGDA

J = np.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])


def test_golden():
    np.testing.assert_allclose(MGDA().weights(J @ J.T), [0.6, 0.4], atol=1e-5)


@pytest.mark.parametrize("normalization", ["none", "l2", "loss", "loss+"])
def test_against_scipy(normalization):
    rng = np.random.default_rng(4)
    rows, losses = rng.normal(size=(4, 10)), rng.uniform(0.5, 3.0, size=4)
    norms = np.linalg.norm(rows, axis=1)
    divisor = {"none": 1.0, "l2": norms, "loss": losses, "loss+": losses * norms}[normalization]
    scaled = rows / np.broadcast_to(divisor, 4)[:, None]
    constraint = {"type": "eq", "fun": lambda w: w.sum() - 1}
    expected = minimize(
        lambda w: ((scaled.T @ w) ** 2).sum(), np.full(4, 0.25), bounds=[(0, 1)] * 4, constraints=constraint, tol=1e-15
    ).x
    balancer = MGDA(normalization)
    np.testing.assert_allclose(balancer.weights(rows @ rows.T, losses=losses), expected, atol=1e-5)
    np.testing.assert_allclose(balancer.aggregate(rows, losses=losses), rows.T @ expected, atol=1e-4)


def test_unknown_normalization():
    with pytest.raises(ValueError, match="Unknown normalization of MGDA 'l1'"):
        MGDA("l1")
