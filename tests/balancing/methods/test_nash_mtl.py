import numpy as np
import pytest

from mtl.balancing import NashMTL

J = np.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])


def test_golden():
    np.testing.assert_allclose(NashMTL(max_norm=None).weights(J @ J.T), [0.59146, 0.40707], atol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_two_tasks_in_closed_form(seed):
    rows = np.random.default_rng(seed).normal(size=(2, 3)) * [[10.0], [0.1]]
    norms = np.linalg.norm(rows, axis=1)
    cosine = rows[0] @ rows[1] / norms.prod()
    weights = NashMTL(max_norm=None).weights(rows @ rows.T).numpy()
    np.testing.assert_allclose(weights, 1 / (norms * np.sqrt(1 + cosine)), rtol=1e-8)


@pytest.mark.parametrize("tasks", [1, 3, 64])
def test_the_length_is_the_root_of_the_number_of_tasks(tasks):
    rows = np.random.default_rng(0).normal(size=(tasks, 100))
    assert np.linalg.norm(NashMTL(max_norm=None).aggregate(rows)) == pytest.approx(np.sqrt(tasks))
    assert np.linalg.norm(NashMTL().aggregate(rows)) == pytest.approx(1.0)
    assert np.linalg.norm(NashMTL(max_norm=100.0).aggregate(rows)) == pytest.approx(np.sqrt(tasks))


def test_weights_are_kept_for_some_steps():
    balancer = NashMTL(max_norm=None, update_every=2)
    diagonals = [1.0, 4.0, 16.0, 64.0]
    found = [balancer.weights(np.diag([d, 1.0])).numpy()[0] for d in diagonals]
    np.testing.assert_allclose(found, [1.0, 1.0, 0.25, 0.25], rtol=1e-6)
    balancer = NashMTL(max_norm=None, update_every=2)
    balancer.weights(np.eye(2), [True, False])
    assert balancer.weights(np.diag([1.0, 4.0])).numpy().tolist() == [1.0, 0.5]  # The second had none.
