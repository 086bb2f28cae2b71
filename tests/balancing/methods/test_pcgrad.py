import itertools

import numpy as np

from mtl.balancing import PCGrad

J = np.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])


def test_golden():
    np.testing.assert_allclose(PCGrad().weights(J @ J.T), [2.22222, 1.57895], atol=1e-5)


def in_order(rows, orders):
    """The paper's algorithm on the gradients themselves."""
    total = np.zeros(rows.shape[1])
    for i, order in enumerate(orders):
        g = rows[i].copy()
        for j in order:
            if g @ rows[j] < 0:
                g = g - g @ rows[j] / (rows[j] @ rows[j]) * rows[j]
        total += g
    return total


def test_against_every_possible_order():
    """Each draw is one of the results that the paper's algorithm can have, and all of them are drawn."""
    rows = np.random.default_rng(5).normal(size=(3, 3)) - 0.5
    rows[2] = -rows[0] - rows[1] + 0.1
    choices = [[(1, 2), (2, 1)], [(0, 2), (2, 0)], [(0, 1), (1, 0)]]
    possible = {tuple(np.round(in_order(rows, orders), 8)) for orders in itertools.product(*choices)}
    balancer = PCGrad(seed=1)
    drawn = {tuple(np.round(balancer.aggregate(rows).numpy(), 8)) for _ in range(60)}
    assert len(possible) > 2
    assert drawn == possible


def test_without_conflict_it_is_the_sum():
    rows = np.abs(np.random.default_rng(0).normal(size=(5, 7)))
    np.testing.assert_allclose(PCGrad().aggregate(rows), rows.sum(0), rtol=1e-12)
