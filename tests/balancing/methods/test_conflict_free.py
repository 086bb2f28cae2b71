import numpy as np
import pytest

from mtl.balancing import ConFIG

J = np.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])


def test_golden():
    np.testing.assert_allclose(ConFIG().aggregate(J), [0.1588, 2.0706, 2.0706], atol=1e-4)


@pytest.mark.parametrize(("tasks", "size"), [(2, 5), (5, 9), (5, 3)])
def test_against_numpy(tasks, size):
    rows = np.random.default_rng(tasks).normal(size=(tasks, size)) * np.logspace(-3, 3, tasks)[:, None]
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    u = np.linalg.pinv(units) @ np.ones(tasks)
    u /= np.linalg.norm(u)
    direction = ConFIG().aggregate(rows).numpy()
    np.testing.assert_allclose(direction, (rows @ u).sum() * u, rtol=1e-6)
    if tasks <= size:
        np.testing.assert_allclose(units @ direction, (units @ direction)[0], rtol=1e-6)
