import numpy as np
import tensorflow as tf

from mtl.balancing.gramian import Gramian
from mtl.balancing.surgery import operate, orders


def test_orders_are_permutations_that_differ():
    found = orders(5, tf.constant([0, 0], tf.int64)).numpy()
    assert np.sort(found, axis=1).tolist() == [list(range(5))] * 5
    assert len({tuple(row) for row in found}) > 1


def test_each_meets_every_other_once():
    """With a change of 1 at every meeting, each gradient becomes the sum of all, and targets become the cosines then seen."""
    jacobian = np.eye(3)
    problem, _ = Gramian.of(tf.constant(jacobian), tf.fill([3], True))
    weights, targets = operate(
        problem, tf.zeros([3, 3], tf.float64), tf.constant([0, 0], tf.int64), lambda c, length, n, t: tf.ones_like(c), 1.0
    )
    assert weights.numpy().tolist() == [3.0, 3.0, 3.0]
    assert targets.numpy().tolist() == np.zeros((3, 3)).tolist()
