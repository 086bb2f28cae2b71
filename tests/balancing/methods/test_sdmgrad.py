import numpy as np
import pytest
from scipy.optimize import minimize

from mtl.balancing import SDMGrad


def project(point):
    constraint = {"type": "eq", "fun": lambda w: w.sum() - 1}
    start = np.full(len(point), 1 / len(point))
    return minimize(lambda w: ((w - point) ** 2).sum(), start, bounds=[(0, 1)] * len(point), constraints=constraint, tol=1e-16).x


def test_against_numpy():
    rng, w, b = np.random.default_rng(0), np.full(3, 1 / 3), np.full(3, 1 / 3)
    balancer = SDMGrad(pull=0.3, learning_rate=0.2, steps=2)
    for _ in range(3):
        first = rng.normal(size=(3, 8))
        second = first + 0.1 * rng.normal(size=(3, 8))
        cross = first @ second.T
        for _ in range(2):
            w = project(w - 0.2 / np.mean(np.diag(cross)) * cross @ (w + 0.3 * b))
        expected = ((first + second) / 2).T @ (w + 0.3 * b) / 1.3
        np.testing.assert_allclose(balancer.aggregate(np.stack([first, second])), expected, atol=1e-5)


def test_many_steps_find_the_minimum():
    rows = np.random.default_rng(1).normal(size=(3, 8)) + 0.3
    b, constraint = np.full(3, 1 / 3), {"type": "eq", "fun": lambda w: w.sum() - 1}
    w = minimize(lambda w: ((rows.T @ (w + 0.5 * b)) ** 2).sum(), b, bounds=[(0, 1)] * 3, constraints=constraint, tol=1e-15).x
    direction = SDMGrad(pull=0.5, steps=300).aggregate(rows).numpy()
    np.testing.assert_allclose(direction, rows.T @ (w + 0.5 * b) / 1.5, atol=1e-4)


def test_two_equal_batches_are_one():
    rows = np.random.default_rng(1).normal(size=(3, 8))
    np.testing.assert_allclose(SDMGrad().aggregate(np.stack([rows, rows])), SDMGrad().aggregate(rows), rtol=1e-12)


def test_a_missing_task_keeps_its_weight():
    balancer, gramian = SDMGrad(pull=0.0, learning_rate=0.2), np.diag([9.0, 1.0, 1.0])
    first, second, third = balancer.weights(gramian, [True, True, False]).numpy()
    assert third == 0.0 and first < second and first + second == pytest.approx(1.0)
    learned = next(v for v in balancer.state.weights if v.name == "learned_weights").numpy()
    np.testing.assert_allclose(learned, [2 / 3 * first, 2 / 3 * second, 1 / 3], rtol=1e-6)
