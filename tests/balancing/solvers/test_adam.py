import keras
import numpy as np
import tensorflow as tf

from mtl.balancing.balancer import State
from mtl.balancing.solvers.adam import Adam


def test_it_is_keras_adam():
    adam, variable = Adam(State(), 3, rate=0.1), keras.Variable([1.0, 2.0, 3.0])
    reference, value = keras.optimizers.Adam(0.1, epsilon=1e-8), tf.constant([1.0, 2.0, 3.0], tf.float64)
    for step in range(4):
        gradient = tf.constant([1.0, -0.5, 0.1 * step])
        value = adam.step(lambda v, new: v.assign(new), value, tf.cast(gradient, tf.float64), tf.fill([3], True))
        reference.apply([gradient], [variable])
    np.testing.assert_allclose(value, variable.value, rtol=1e-5)


def test_decay_and_missing_tasks():
    adam = Adam(State(), 2, rate=0.1, decay=0.5)
    value = adam.step(lambda v, new: v.assign(new), tf.constant([2.0, 2.0]), tf.constant([0.0, 9.0]), tf.constant([True, False]))
    np.testing.assert_allclose(value, [1.9, 2.0], rtol=1e-5)  # The first step of Adam is the rate, whatever the gradient.
    assert adam.steps.value.numpy().tolist() == [1.0, 0.0] and adam.mean.value.numpy().tolist()[1] == 0.0
