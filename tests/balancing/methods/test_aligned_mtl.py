import numpy as np
import pytest

from mtl.balancing import AlignedMTL

J = np.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])


def test_golden():
    np.testing.assert_allclose(AlignedMTL("min").weights(J @ J.T), [0.55907, 0.40826], atol=1e-5)


@pytest.mark.parametrize("scale", ["min", "median", "rmse"])
@pytest.mark.parametrize("rank", [5, 4, 2])
def test_by_the_singular_values(scale, rank):
    """The paper's other form: the gradients' principal parts, all brought to one size."""
    rng = np.random.default_rng(rank)
    rows = rng.normal(size=(5, rank))
    rows = rows * np.sign(rows[:, :1]) @ rng.normal(size=(rank, 12))  # All on one side of a plane, so not stationary.
    u, s, v = np.linalg.svd(rows, full_matrices=False)
    u, s, v = u[:, :rank], s[:rank], v[:rank]
    size = {"min": s[-1], "median": np.sort(s)[(rank - 1) // 2], "rmse": np.sqrt(np.mean(s**2))}[scale]
    expected = (size * u @ v).T @ np.full(5, 0.2)
    np.testing.assert_allclose(AlignedMTL(scale).aggregate(rows), expected, rtol=1e-6)


def aligned(rows, shares):
    """The paper's, by the singular values of J; all are above 0."""
    u, s, v = np.linalg.svd(rows.astype("float64"), full_matrices=False)
    return s[-1] * (u @ v).T @ shares


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("distance", [1.0, 1e-1, 1e-2, 1e-4, 0.0])
def test_near_and_at_stationary_points(dtype, distance):
    """The smallest singular value goes to 0, and the direction with it; it is not left out for the next one."""
    rng = np.random.default_rng(0)
    rows, z = rng.normal(size=(3, 9)), np.array([0.5, 0.7, 0.6])
    rows[2] = -(z[:2] @ rows[:2]) / z[2] + distance * rng.normal(size=9)
    rows = rows.astype(dtype)
    expected = aligned(rows, np.full(3, 1 / 3)) if distance else np.zeros(9)
    # The singular value is the root of an eigenvalue, of which float32 gives 1e-7 of the largest one.
    atol = {"float32": 2e-7 / max(distance, 1e-3), "float64": 1e-9}[dtype] * np.linalg.norm(rows, axis=1).max()
    np.testing.assert_allclose(AlignedMTL().aggregate(rows), expected, atol=5 * atol)


@pytest.mark.parametrize("ratio", [1e-2, 1e-4, 1e-6])
def test_short_gradients_are_not_lost(ratio):
    """At right angles the direction is the shorter length along both."""
    rows = np.array([[1.0, 0.0], [0.0, ratio]], "float32")
    np.testing.assert_allclose(AlignedMTL().aggregate(rows), [ratio / 2, ratio / 2], rtol=1e-4)


def test_gradients_of_one_direction_are_not_stationary():
    np.testing.assert_allclose(AlignedMTL().aggregate([[1.0, 1.0], [1.0, 1.0]]), [1.0, 1.0], rtol=1e-5)


def test_preferences():
    balancer = AlignedMTL(preferences={"a": 3.0})
    balancer.bind(["a", "b"])
    np.testing.assert_allclose(balancer.weights(np.eye(2)), [0.75, 0.25])
    with pytest.raises(ValueError, match="Unknown scale of AlignedMTL 'max'"):
        AlignedMTL("max")
