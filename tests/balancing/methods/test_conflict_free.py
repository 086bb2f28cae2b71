import numpy as np
import pytest

from mtl.balancing import ConFIG

J = np.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])


def test_golden():
    np.testing.assert_allclose(ConFIG().aggregate(J), [0.1588, 2.0706, 2.0706], atol=1e-4)


@pytest.mark.parametrize(("tasks", "size"), [(2, 5), (5, 9), (5, 3)])
def test_against_numpy(tasks, size):
    rows = np.random.default_rng(tasks).normal(size=(tasks, size)) * np.logspace(-3, 3, tasks)[:, None]
    rows *= np.sign(rows[:, :1])  # All on one side of a plane, so not stationary.
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    u = np.linalg.pinv(units) @ np.ones(tasks)
    u /= np.linalg.norm(u)
    direction = ConFIG().aggregate(rows).numpy()
    np.testing.assert_allclose(direction, (rows @ u).sum() * u, rtol=1e-6)
    if tasks <= size:
        np.testing.assert_allclose(units @ direction, (units @ direction)[0], rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("distance", [1.0, 1e-1, 1e-2, 1e-3])
def test_near_a_stationary_point(dtype, distance):
    """`d = sum_t ||g_t|| C^-1 1 / 1^T C^-1 1`: the nearer, the shorter, where the least squares of U^+ would raise losses."""
    rng = np.random.default_rng(0)
    rows, z = rng.normal(size=(3, 9)), np.array([0.5, 0.7, 0.6])
    rows[2] = -(z[:2] @ rows[:2]) / z[2] + distance * rng.normal(size=9)
    rows = (rows * [[1e-2], [1.0], [1e2]]).astype(dtype)
    norms = np.linalg.norm(rows.astype("float64"), axis=1, keepdims=True)
    units = rows.astype("float64") / norms
    x = np.linalg.solve(units @ units.T, np.ones(3))
    expected = norms.sum() * units.T @ x / x.sum()
    np.testing.assert_allclose(ConFIG().aggregate(rows), expected, atol=2e-5 * norms.max())


def test_at_a_stationary_point_the_direction_is_0():
    first, second = np.array([1.0, 0.0, 0.0]), np.array([-0.5, 0.8, 0.0])
    rows = np.stack([first, second, -(0.5 * first + 0.7 * second) / 0.6])
    np.testing.assert_allclose(ConFIG().aggregate(rows), np.zeros(3), atol=1e-9)
    np.testing.assert_allclose(ConFIG().aggregate(rows.astype("float32")), np.zeros(3), atol=1e-5)
    np.testing.assert_allclose(ConFIG().aggregate([[2.0, 0.0], [-1.0, 1e-3]]), [7.5e-7, 1.5e-3], rtol=1e-3, atol=1e-6)
