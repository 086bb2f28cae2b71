import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import minimize

from mtl.balancing.solvers.simplex import portion, project, softmax


def test_softmax_of_some():
    result = softmax(tf.constant([0.0, 1000.0, np.log(3.0)]), tf.constant([True, False, True])).numpy()
    np.testing.assert_allclose(result, [0.25, 0.0, 0.75], rtol=1e-6)
    assert softmax(tf.constant([1.0, 2.0]), tf.constant([False, False])).numpy().tolist() == [0.0, 0.0]


def test_portion():
    shares, total = portion(tf.constant([1.0, 5.0, 3.0]), tf.constant([True, False, True]))
    assert shares.numpy().tolist() == [0.25, 0.0, 0.75] and float(total) == 4.0


@pytest.mark.parametrize("seed", range(4))
def test_projection(seed):
    point = np.random.default_rng(seed).normal(size=5)
    result = project(tf.constant(point), tf.fill([5], True)).numpy()
    constraint = {"type": "eq", "fun": lambda w: w.sum() - 1}
    expected = minimize(
        lambda w: ((w - point) ** 2).sum(), np.full(5, 0.2), bounds=[(0, 1)] * 5, constraints=constraint, tol=1e-14
    )
    np.testing.assert_allclose(result, expected.x, atol=1e-6)


def test_projection_of_some_and_of_large_values():
    assert project(tf.constant([9.0, 0.5, 0.5]), tf.constant([False, True, True])).numpy().tolist() == [0.0, 0.5, 0.5]
    assert project(tf.constant([-1e30, -3e30]), tf.constant([True, True])).numpy().tolist() == [1.0, 0.0]
