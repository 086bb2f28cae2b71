import numpy as np

from mtl.balancing import GradDrop


def test_one_sign_a_parameter():
    rows = np.random.default_rng(0).normal(size=(4, 50))
    positive, negative = np.where(rows > 0, rows, 0).sum(0), np.where(rows < 0, rows, 0).sum(0)
    direction = GradDrop().aggregate(rows).numpy()
    assert (np.isclose(direction, positive) | np.isclose(direction, negative)).all()
    assert np.isclose(direction, positive).any() and np.isclose(direction, negative).any()


def test_the_chance_of_a_sign_is_its_purity():
    rows = np.tile([[3.0], [-1.0]], 20_000)
    direction = GradDrop().aggregate(rows).numpy()
    assert set(direction.tolist()) == {3.0, -1.0}
    assert abs((direction == 3.0).mean() - 0.75) < 0.02


def test_leak():
    rows = np.random.default_rng(0).normal(size=(4, 50))
    np.testing.assert_allclose(GradDrop(leak=1.0).aggregate(rows), rows.sum(0))
    dropped = GradDrop(seed=3).aggregate(rows)
    np.testing.assert_allclose(GradDrop(leak=0.25, seed=3).aggregate(rows), 0.25 * rows.sum(0) + 0.75 * dropped)
