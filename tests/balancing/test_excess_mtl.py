import numpy as np
import pytest

from mtl.balancing import ExcessMTL


def test_against_numpy():
    rng, squares, w, first = np.random.default_rng(0), np.zeros((3, 6)), np.ones(3), None
    balancer = ExcessMTL(eta=0.5)
    for _ in range(5):
        rows = rng.normal(size=(3, 6))
        squares += rows**2
        risks = (rows**2 / np.sqrt(squares + 1e-7)).sum(1)
        if first is None:
            first = risks
        else:
            w = w * np.exp(0.5 * risks / first)
            w = 3 * w / w.sum()
        np.testing.assert_allclose(balancer.aggregate(rows), rows.T @ w, rtol=1e-5)


def test_a_missing_task_keeps_its_weight():
    balancer = ExcessMTL(eta=1.0)
    rows = np.eye(3)
    balancer.aggregate(rows)
    balancer.aggregate(rows * [[3.0], [1.0], [9.0]], [True, True, False])
    first, second, third = balancer.current_weights().values()
    assert third == 1.0 and first + second == pytest.approx(2.0) and first > second
