import numpy as np
import tensorflow as tf

from mtl.utils.rows import labelled


def test_keeps_labelled_rows_and_blanks_the_rest():
    array = np.array([[1.0, np.inf], [2.0, 3.0], [np.nan, 1.0]])
    np.testing.assert_array_equal(labelled(np.array([0.0, 0.5, 0.0]), array), [[0, 0], [2, 3], [0, 0]])


def test_tokens_and_integers():
    weight = np.array([[1.0, 0.0]])
    np.testing.assert_array_equal(labelled(weight, np.array([[7, -1]])), [[7, 0]])
    np.testing.assert_array_equal(labelled(weight, np.array([[[1.0, 2.0], [np.nan, 3.0]]])), [[[1, 2], [0, 0]]])


def test_no_gradient_reaches_blanked_rows():
    x = tf.constant([1.0, float("nan")])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.reduce_sum(tf.exp(labelled(tf.constant([1.0, 0.0]), x)) * [1.0, 0.0])
    np.testing.assert_allclose(tape.gradient(y, x), [np.e, 0.0], rtol=1e-6)
