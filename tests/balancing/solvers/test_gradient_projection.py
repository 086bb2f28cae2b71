import numpy as np
import pytest
import tensorflow as tf

from mtl.balancing.solvers.gradient_projection import orders, project_conflicts
from mtl.balancing.solvers.gramian import Gramian, gramian_of


def test_orders_are_permutations_that_differ():
    found = orders(5, tf.constant([0, 0], tf.int64)).numpy()
    assert np.sort(found, axis=1).tolist() == [list(range(5))] * 5
    assert len({tuple(row) for row in found}) > 1


def test_each_meets_every_other_once():
    """With a change of 1 at every meeting, each gradient becomes the sum of all."""
    jacobian = np.eye(3)
    problem, _ = Gramian.of(tf.constant(jacobian), tf.fill([3], True))
    weights, targets = project_conflicts(
        problem, tf.zeros([3, 3], tf.float64), tf.constant([0, 0], tf.int64), lambda c, length, n, t: tf.ones_like(c), 1.0
    )
    assert weights.numpy().tolist() == [3.0, 3.0, 3.0]
    assert targets.numpy().tolist() == np.zeros((3, 3)).tolist()


def test_targets_move_towards_the_cosines():
    """Two gradients at 60 degrees that stay as they are: half the way from 0 to 0.5."""
    problem, _ = Gramian.of(tf.constant([[1.0, 0.5], [0.5, 1.0]], tf.float64), tf.fill([2], True))
    _, targets = project_conflicts(
        problem, tf.zeros([2, 2], tf.float64), tf.constant([0, 0], tf.int64), lambda c, length, n, t: tf.zeros_like(c), 0.5
    )
    np.testing.assert_allclose(targets, [[0.0, 0.25], [0.25, 0.0]], atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_gradient_of_which_only_rounding_is_left_has_no_direction(dtype):
    """The first gradient meets its opposite, is projected away, and then meets a third, with which it has no cosine any more."""
    seed = tf.constant([0, 0], tf.int64)
    assert orders(3, seed)[0].numpy().tolist() == [0, 1, 2]

    def project(cosine, length, other, target):
        return tf.where(cosine < 0, -cosine * length / other, tf.zeros_like(cosine))

    for draw in range(20):
        first, third = np.random.default_rng(draw).normal(size=(2, 7))
        jacobian = tf.constant(np.stack([first, -0.3 * first, third]), dtype)
        problem, _ = Gramian.of(gramian_of(jacobian), tf.fill([3], True))
        _, targets = project_conflicts(problem, tf.zeros([3, 3], tf.float64), seed, project, 0.5)
        assert float(targets[0, 2]) == 0.0 and float(targets[0, 1]) < -0.49, draw
