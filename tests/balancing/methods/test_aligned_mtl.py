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
    rows = rng.normal(size=(5, rank)) @ rng.normal(size=(rank, 12))
    u, s, v = np.linalg.svd(rows, full_matrices=False)
    u, s, v = u[:, :rank], s[:rank], v[:rank]
    size = {"min": s[-1], "median": np.sort(s)[(rank - 1) // 2], "rmse": np.sqrt(np.mean(s**2))}[scale]
    expected = (size * u @ v).T @ np.full(5, 0.2)
    np.testing.assert_allclose(AlignedMTL(scale).aggregate(rows), expected, rtol=1e-6)


def test_preferences():
    balancer = AlignedMTL(preferences={"a": 3.0})
    balancer.bind(["a", "b"])
    np.testing.assert_allclose(balancer.weights(np.eye(2)), [0.75, 0.25])
    with pytest.raises(ValueError, match="Unknown scale of AlignedMTL 'max'"):
        AlignedMTL("max")
