import numpy as np

from mtl.balancing import GradVac
from mtl.balancing.solvers.gradient_projection import orders


def test_against_numpy():
    """The paper's algorithm on the gradients themselves, in the orders that were drawn."""
    rng, beta, count = np.random.default_rng(2), 0.3, 4
    balancer, targets = GradVac(beta, seed=7), np.zeros((count, count))
    for step in range(4):
        rows = rng.normal(size=(count, 6)) + 0.4
        order, total = orders(count, np.array([7, step])).numpy(), np.zeros(6)
        for i in range(count):
            g = rows[i].copy()
            for j in order[i][order[i] != i]:
                n, m, t = np.linalg.norm(g), np.linalg.norm(rows[j]), targets[i, j]
                c = g @ rows[j] / (n * m)
                if c < t:
                    g = g + n * (t * np.sqrt(1 - c**2) - c * np.sqrt(1 - t**2)) / (m * np.sqrt(1 - t**2)) * rows[j]
                targets[i, j] = (1 - beta) * t + beta * c
            total += g
        np.testing.assert_allclose(balancer.aggregate(rows), total, rtol=1e-5)


def test_gradients_are_turned_to_the_target():
    """Two gradients, the second opposed: after meeting, the cosine is the target, here that of the steps before."""
    balancer = GradVac(beta=1.0)
    a, b = np.array([1.0, 0.0]), np.array([0.6, 0.8])
    balancer.aggregate(np.stack([a, b]))  # The targets are 0.6 now.
    c = np.array([-0.6, 0.8])
    weights = balancer.weights(np.stack([a, c]) @ np.stack([a, c]).T).numpy()
    factor = weights[1] - 1  # a + factor c
    turned = a + factor * c
    assert abs(turned @ c / np.linalg.norm(turned) - 0.6) < 1e-5
