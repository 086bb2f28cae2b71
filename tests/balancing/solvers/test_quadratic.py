"""Small quadratic programs, against SciPy's non-negative least squares and the conditions of their minimum."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import nnls

from mtl.balancing.solvers.gramian import Gramian
from mtl.balancing.solvers.quadratic import _interior, _pivot, least_above, least_norm, nonnegative


def problem(jacobian, dtype="float64"):
    return Gramian.of(tf.constant(jacobian @ jacobian.T, dtype), tf.fill([len(jacobian)], True))[0]


def units(rng, tasks, rank, size=40):
    rows = rng.normal(size=(tasks, rank)) @ rng.normal(size=(rank, size))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def on_dual_cone(jacobian, point):
    """The point of `J d >= 0` nearest to another: the other plus `J^T y`, `y >= 0`."""
    y, _ = nnls(jacobian.T, -point, maxiter=10_000)
    return point + jacobian.T @ y


@pytest.mark.parametrize(
    ("tasks", "rank"), [(1, 1), (2, 2), (2, 1), (3, 3), (4, 2), (5, 5), (8, 3), (16, 8), (16, 16), (64, 32), (64, 64)]
)
@pytest.mark.parametrize("spread", [0, 10])
def test_projection_on_the_dual_cone(tasks, rank, spread):
    """Rows as long as 1e-10 to 1e10, and of less than full rank."""
    rng = np.random.default_rng(tasks + rank)
    rows, lengths = units(rng, tasks, rank, max(40, 2 * tasks)), 10.0 ** rng.uniform(-spread, spread, size=tasks)
    floors = np.eye(tasks)[:8]
    result = least_above(problem(rows * lengths[:, None]), tf.constant(floors)).numpy()
    assert (result >= floors).all()
    for i, weights in enumerate(result):
        found = (rows * lengths[:, None]).T @ weights / lengths[i]
        np.testing.assert_allclose(found, on_dual_cone(rows, rows[i]), atol=2e-8)


@pytest.mark.parametrize(("tasks", "size"), [(1, 3), (2, 5), (5, 9), (16, 20), (64, 80)])
@pytest.mark.parametrize("spread", [0, 10])
def test_the_shortest_convex_combination(tasks, size, spread):
    """`g_t d >= d d` for all tasks, and equal where the weight is not 0, is the condition of the minimum."""
    rng = np.random.default_rng(size)
    rows = rng.normal(size=(tasks, size)) * 10.0 ** rng.uniform(-spread, spread, size=(tasks, 1))
    weights = least_norm(problem(rows)).numpy()
    assert weights.min() >= 0 and weights.sum() == pytest.approx(1.0)
    d = rows.T @ weights
    slack = (rows @ d - d @ d) / (np.linalg.norm(rows, axis=1) * np.linalg.norm(d))
    assert slack.min() > -1e-9
    assert (np.abs(slack[weights * np.linalg.norm(rows, axis=1) > 1e-6 * np.linalg.norm(d)]) < 1e-9).all()


@pytest.mark.parametrize("seed", range(5))
def test_two_gradients_by_hand(seed):
    """The point of the segment between a and b nearest to 0."""
    a, b = np.random.default_rng(seed).normal(size=(2, 3)) + 0.5
    share = np.clip((b - a) @ b / ((b - a) @ (b - a)), 0.0, 1.0)
    np.testing.assert_allclose(least_norm(problem(np.stack([a, b]))), [share, 1 - share], atol=1e-10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_stationary_gradients_have_the_direction_0(dtype):
    rows = units(np.random.default_rng(0), 3, 3)
    rows = np.concatenate([rows, -2 * rows.sum(0, keepdims=True)]) * [[1.0], [1e3], [1e-3], [1.0]]
    weights = least_norm(problem(rows, dtype)).numpy()
    parts = weights[:, None] * rows
    assert weights.sum() == pytest.approx(1.0)
    assert np.linalg.norm(parts.sum(0)) < 1e-4 * np.linalg.norm(parts, axis=1).max()


def test_a_gradient_of_0_gets_all_the_weight():
    assert least_norm(problem(np.array([[1.0, 2.0], [0.0, 0.0]]))).numpy().tolist() == [0.0, 1.0]
    assert least_norm(problem(np.zeros((2, 2)))).numpy().tolist() == [0.5, 0.5]


def test_the_second_way_finds_the_same_minimum():
    """Where guessing goes round in circles, the interior point method takes over."""
    rng = np.random.default_rng(3)
    rows = units(rng, 16, 20)
    matrix, linear = tf.constant(rows @ rows.T), tf.constant(rng.uniform(-1, 1, size=(6, 16)))
    exact, solved = _pivot(matrix, linear, linear < 0, turns=30)
    assert solved.numpy().all()
    near, slope = _interior(matrix, linear)
    np.testing.assert_allclose(near, exact, atol=1e-7)
    assert (near.numpy() > 0).all() and (slope.numpy() > 0).all()
    _, too_early = _pivot(matrix, linear, linear > 0, turns=0)
    assert not too_early.numpy().any()


def test_inside_a_graph_and_compiled_by_xla():
    rows = units(np.random.default_rng(1), 5, 5)
    matrix, linear = tf.constant(rows @ rows.T), tf.constant(np.random.default_rng(2).normal(size=(3, 5)))
    expected = nonnegative(matrix, linear)
    for compiled in (False, True):
        function = tf.function(nonnegative, jit_compile=compiled, autograph=False)
        np.testing.assert_allclose(function(matrix, linear), expected, atol=1e-12)
