import numpy as np
import pytest

from mtl.balancing import IMTLG

J = np.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])


def test_golden():
    np.testing.assert_allclose(IMTLG().weights(J @ J.T), [0.59233, 0.40767], atol=1e-5)


@pytest.mark.parametrize("tasks", [2, 3, 8])
def test_against_numpy(tasks):
    rows = np.random.default_rng(tasks).normal(size=(tasks, 20))
    v = np.linalg.pinv(rows @ rows.T) @ np.linalg.norm(rows, axis=1)
    direction = IMTLG().aggregate(rows).numpy()
    np.testing.assert_allclose(direction, rows.T @ v / v.sum(), rtol=1e-8)
    along = rows @ direction / np.linalg.norm(rows, axis=1)
    np.testing.assert_allclose(along, along[0], rtol=1e-8)


@pytest.mark.parametrize("dtype, largest", [("float32", 6), ("float64", 10)])
def test_short_gradients_are_not_lost(dtype, largest):
    units = np.random.default_rng(0).normal(size=(5, 40))
    rows = (units * 10.0 ** np.linspace(-largest, largest, 5)[:, None]).astype(dtype)
    weights = IMTLG().weights(rows @ rows.T).numpy().astype("float64")
    units = rows / np.linalg.norm(rows.astype("float64"), axis=1, keepdims=True)
    v = np.linalg.inv(units @ units.T).sum(1) / np.linalg.norm(rows.astype("float64"), axis=1)
    np.testing.assert_allclose(weights, v / v.sum(), rtol=1e-4)


def test_of_less_than_full_rank():
    rows = np.random.default_rng(0).normal(size=(4, 2)) @ np.random.default_rng(1).normal(size=(2, 6))
    v = np.linalg.pinv(rows @ rows.T, rcond=1e-10) @ np.linalg.norm(rows, axis=1)
    np.testing.assert_allclose(IMTLG().weights(rows @ rows.T), v / v.sum(), rtol=1e-6)


def test_opposite_gradients_have_the_weights_0():
    assert IMTLG().weights([[1.0, -1.0], [-1.0, 1.0]]).numpy().tolist() == [0.0, 0.0]
