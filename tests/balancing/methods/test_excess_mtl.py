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


def test_a_task_begins_when_it_is_first_seen():
    """The weights of the others have changed by then; its own does so from its second step on."""
    balancer, rows = ExcessMTL(eta=1.0), np.eye(3)
    for scale in (1.0, 3.0):
        balancer.aggregate(rows * [[scale], [1.0], [1.0]], [True, True, False])
    before = balancer.current_weights()
    balancer.aggregate(rows * 1e-6)  # Of next to no risk: the weights stay.
    assert list(balancer.current_weights().values()) == pytest.approx([before["0"], before["1"], 1.0], rel=1e-3)
