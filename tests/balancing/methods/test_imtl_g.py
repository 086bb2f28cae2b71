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


def closed_form(rows):
    """The paper's: `w_2.. = g_1 U^T (D U^T)^-1`, with the differences of gradients D and of unit gradients U; `w_1 = 1 - sum`."""
    rows = rows.astype("float64")
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    differences, turned = rows[0] - rows[1:], units[0] - units[1:]
    found = np.linalg.solve(turned @ differences.T, turned @ rows[0])
    return np.array([1 - found.sum(), *found])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cosine", [1.0, 0.3, -1 + 1e-4, -1 + 1e-7, -1.0])
@pytest.mark.parametrize("ratio", [0.99, 1e-6, 1e10])
def test_two_tasks_at_every_angle(dtype, cosine, ratio):
    """By hand: `w = (||g_2||, ||g_1||) / (||g_1|| + ||g_2||)`."""
    rows = np.array([[1.0, 0.0], ratio * np.array([cosine, np.sqrt(1 - cosine**2)])]).astype(dtype)
    expected = np.array([ratio, 1.0]) / (1.0 + ratio)
    np.testing.assert_allclose(IMTLG().weights(rows @ rows.T), expected, rtol=1e-6)
    np.testing.assert_allclose(IMTLG().aggregate(rows), rows.T @ expected, atol=1e-6 * min(1.0, ratio))


def test_golden_near_and_at_stationary_points():
    np.testing.assert_allclose(IMTLG().aggregate([[1.0, 0.0], [-0.99, 0.0]]), [0.0, 0.0], atol=1e-7)
    np.testing.assert_allclose(IMTLG().aggregate([[2.0, 0.0], [-1.0, 1e-3]]), [10 / 3 * 1e-7, 2 / 3 * 1e-3], rtol=1e-4, atol=1e-7)
    first, second = np.array([1.0, 0.0, 0.0]), np.array([-0.5, 0.8, 0.0])
    rows = np.stack([first, second, -(0.5 * first + 0.7 * second) / 0.6])
    np.testing.assert_allclose(IMTLG().weights(rows @ rows.T), np.array([0.5, 0.7, 0.6]) / 1.8, rtol=1e-9)
    np.testing.assert_allclose(IMTLG().aggregate(rows.astype("float32")), np.zeros(3), atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("tasks", [3, 16])
@pytest.mark.parametrize("spread", [0, 4])
@pytest.mark.parametrize("distance", [0.0, 1e-6, 1e-2])
def test_against_the_closed_form_near_stationary_points(dtype, tasks, spread, distance):
    """Positive weights z make the gradients' sum 0, but for a distance."""
    rng = np.random.default_rng(tasks)
    rows, z = rng.normal(size=(tasks, 40)), rng.uniform(0.3, 1.0, size=tasks)
    rows[-1] = -(z[:-1] @ rows[:-1]) / z[-1] + distance * rng.normal(size=40)
    rows = (rows * 10.0 ** rng.uniform(-spread, spread, size=(tasks, 1))).astype(dtype)
    found = IMTLG().aggregate(rows).numpy()
    if distance:
        np.testing.assert_allclose(
            found, rows.T.astype("float64") @ closed_form(rows), atol=1e-5 * np.linalg.norm(rows, axis=1).min()
        )
    else:
        assert np.linalg.norm(found) < 1e-5 * np.linalg.norm(rows, axis=1).min()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_of_one_direction_share_alike(dtype):
    """By hand: of unit weights 1 each, lengths 2 and 1 give `w = (1/2, 1) / 1.5`; no pair is at odds, so nothing vanishes."""
    rows = np.array([[2.0, 2.0, 2.0], [1.0, 1.0, 1.0]], dtype)
    np.testing.assert_allclose(IMTLG().weights(rows @ rows.T), [1 / 3, 2 / 3], rtol=1e-6)
    three = np.array([[2.0, 2.0, 0.0], [1.0, 1.0, 0.0], [0.0, 1.0, 1.0]], dtype)
    found = IMTLG().aggregate(three).numpy()
    along = three @ found / np.linalg.norm(three, axis=1)
    np.testing.assert_allclose(along, along[0], rtol=1e-5)
    assert along[0] > 0.5


def test_no_direction_but_0_has_equal_projections_on_three_gradients_of_a_plane():
    rows = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    np.testing.assert_allclose(closed_form(rows), [1.0, 1.0, -1.0])
    np.testing.assert_allclose(IMTLG().weights(rows @ rows.T), [1.0, 1.0, -1.0], atol=1e-9)
    many = np.random.default_rng(0).normal(size=(6, 2))
    np.testing.assert_allclose(IMTLG().aggregate(many), [0.0, 0.0], atol=1e-9)
