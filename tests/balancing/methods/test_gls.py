import numpy as np
import tensorflow as tf

from mtl.balancing import GLS


def test_the_mean_and_its_gradient():
    losses = tf.constant([0.5, 4.0, 0.25], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(losses)
        total = GLS().combine(losses)
    mean = np.cbrt(0.5 * 4.0 * 0.25)
    np.testing.assert_allclose(total, mean)
    np.testing.assert_allclose(tape.gradient(total, losses), mean / (3 * losses.numpy()))
    np.testing.assert_allclose(GLS().combine(losses, [True, True, False]), np.sqrt(2.0))
