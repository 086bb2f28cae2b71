import tensorflow as tf

from mtl.balancing.floored import floored


def test_gradients_at_and_around_the_floor():
    values = tf.Variable([-3.0, -2.0, -2.0, -1.0])
    with tf.GradientTape() as tape:
        result = floored(values, -2.0)
        total = tf.reduce_sum(result * [-5.0, 1.0, -1.0, 4.0])
    assert result.numpy().tolist() == [-2.0, -2.0, -2.0, -1.0]
    assert tape.gradient(total, values).numpy().tolist() == [-5.0, 0.0, -1.0, 4.0]
