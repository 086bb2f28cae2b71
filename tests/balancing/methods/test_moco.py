import numpy as np
from scipy.optimize import minimize

from mtl.balancing import MoCo


def project(point):
    constraint = {"type": "eq", "fun": lambda w: w.sum() - 1}
    start = np.full(len(point), 1 / len(point))
    return minimize(lambda w: ((w - point) ** 2).sum(), start, bounds=[(0, 1)] * len(point), constraints=constraint, tol=1e-16).x


def test_against_numpy():
    rng, tracked, w = np.random.default_rng(0), np.zeros((3, 5)), np.full(3, 1 / 3)
    balancer = MoCo(beta=0.4, gamma=0.2, rho=0.1)
    for _ in range(5):
        rows = rng.normal(size=(3, 5))
        tracked += 0.4 * (rows - tracked)
        w = project(w - 0.2 * (tracked @ tracked.T + 0.1 * np.eye(3)) @ w)
        np.testing.assert_allclose(balancer.aggregate(rows), tracked.T @ w, atol=1e-5)
        np.testing.assert_allclose(list(balancer.current_weights().values()), w, atol=1e-5)


def test_a_missing_task_keeps_its_gradient_and_its_share():
    balancer = MoCo(beta=1.0, gamma=0.1)
    rows = np.eye(3)
    balancer.aggregate(rows)
    balancer.aggregate(rows * 5, [True, True, False])
    np.testing.assert_allclose(list(balancer.current_weights().values()), [0.5, 0.5, 1 / 3], rtol=1e-5)
    direction = balancer.aggregate(rows)
    np.testing.assert_allclose(direction, np.full(3, 1 / 3), rtol=1e-5)
