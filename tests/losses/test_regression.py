import numpy as np
import tensorflow as tf

from mtl.losses import absolute_error, huber, squared_error

TARGET = np.array([0.0, 1.0, 2.0, 3.0])
OUTPUT = np.array([0.5, 1.0, -1.0, 5.0])


def test_squared_error():
    np.testing.assert_array_equal(squared_error(TARGET, OUTPUT), [0.25, 0.0, 9.0, 4.0])


def test_absolute_error():
    np.testing.assert_array_equal(absolute_error(TARGET, OUTPUT), [0.5, 0.0, 3.0, 2.0])


def test_huber():
    np.testing.assert_array_equal(huber(TARGET, OUTPUT), [0.125, 0.0, 2.5, 1.5])
    np.testing.assert_array_equal(huber(TARGET, OUTPUT, delta=2.0), [0.125, 0.0, 4.0, 2.0])


def test_compute_in_float32():
    for loss in (squared_error, absolute_error, huber):
        result = loss(tf.constant([0.0], tf.float16), tf.constant([1000.0], tf.float16))
        assert result.dtype == tf.float32
        assert np.isfinite(result).all()


def test_gradient_of_huber_is_bounded():
    output = tf.constant([-1e6, -0.5, 0.0, 0.5, 1e6])
    with tf.GradientTape() as tape:
        tape.watch(output)
        loss = tf.reduce_sum(huber(tf.zeros(5), output))
    np.testing.assert_array_equal(tape.gradient(loss, output), [-1, -0.5, 0, 0.5, 1])
