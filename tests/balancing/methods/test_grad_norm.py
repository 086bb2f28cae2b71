import numpy as np
import pytest

from mtl.balancing import GradNorm


def test_against_numpy():
    """The paper's loss for the weights, its gradient with a constant target, Adam, and the sum of K."""
    rng, count, alpha, rate = np.random.default_rng(0), 3, 1.5, 0.025
    balancer, w = GradNorm(alpha, rate), np.ones(count)
    mean, square, first = np.zeros(count), np.zeros(count), None
    for step in range(1, 6):
        rows, losses = rng.normal(size=(count, 8)), rng.uniform(0.5, 2.0, size=count)
        np.testing.assert_allclose(balancer.weights(rows @ rows.T, losses=losses), w, rtol=1e-5)
        first = losses if first is None else first
        norms, r = np.linalg.norm(rows, axis=1), losses / first / np.mean(losses / first)
        target = np.mean(w * norms) * r**alpha
        gradient = np.sign(w * norms - target) * norms
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        w = w - rate * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
        w = w * count / w.sum()


def test_a_missing_task_keeps_its_weight():
    balancer = GradNorm()
    gramian, active = np.diag([100.0, 1.0, 1.0]), [True, True, False]
    for _ in range(3):
        weights = balancer.weights(gramian, active, [1.0, 1.0, np.nan]).numpy()
        assert weights[2] == 0.0 and weights.sum() == pytest.approx(2.0)
    assert balancer.weights(gramian, losses=[1.0, 1.0, 1.0]).numpy()[2] == 1.0


def test_weights_stay_above_0():
    balancer = GradNorm(learning_rate=0.5)
    for _ in range(20):
        weights = balancer.weights(np.diag([1e6, 1.0]), losses=[1.0, 1.0]).numpy()
    assert 0 < weights[0] < 1e-3 and weights.sum() == pytest.approx(2.0)
