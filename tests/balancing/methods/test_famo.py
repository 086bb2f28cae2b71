import numpy as np
import pytest

from mtl.balancing import FAMO


def test_against_numpy():
    """The paper's algorithm, with the softmax's Jacobian and Adam written out."""
    rng, count, rate, decay = np.random.default_rng(0), 3, 0.1, 0.01
    balancer, w = FAMO(rate, decay), np.zeros(count)
    mean, square = np.zeros(count), np.zeros(count)
    for step in range(1, 6):
        before, after = rng.uniform(0.5, 3.0, size=(2, count))
        z = np.exp(w) / np.exp(w).sum()
        c = z / before / (z / before).sum()
        np.testing.assert_allclose(balancer.combine(before), c @ before, rtol=1e-5)
        np.testing.assert_allclose(list(balancer.current_weights().values()), c, rtol=1e-5)
        balancer.after_step(after)
        gradient = (np.diag(z) - np.outer(z, z)) @ (np.log(before) - np.log(after)) + decay * w
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        w = w - rate * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)


def test_the_task_that_gained_least_counts_more():
    balancer = FAMO()
    balancer.combine([1.0, 1.0])
    balancer.after_step([0.5, 1.0])
    balancer.combine([1.0, 1.0])
    shown = balancer.current_weights()
    assert shown["1"] > shown["0"]


def test_negative_losses_lower_the_bound():
    balancer = FAMO()
    balancer.combine([-2.0, 2.0])  # The bound of the first falls to -4, 2 below it.
    assert list(balancer.current_weights().values()) == pytest.approx([0.5, 0.5])
    balancer.combine([2.0, 2.0])  # 6 above its bound
    assert list(balancer.current_weights().values()) == pytest.approx([0.25, 0.75])
    balancer = FAMO(bounds={"a": -1.0})
    balancer.bind(["a", "b"])
    balancer.combine([1.0, 2.0])
    assert list(balancer.current_weights().values()) == pytest.approx([0.5, 0.5])


def test_missing_tasks_stay():
    balancer = FAMO()
    balancer.combine([1.0, 1.0, 9.0], [True, True, False])
    balancer.after_step([0.5, 1.0, 9.0], [True, True, False])
    balancer.combine([1.0, 1.0, 1.0])
    first, second, third = balancer.current_weights().values()
    assert first < third < second
