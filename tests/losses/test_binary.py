import math

import numpy as np
import pytest
import tensorflow as tf

from mtl.losses import binary_cross_entropy

P = np.array([[0.8, 0.3]])
LOGITS = np.log(P / (1 - P))


def check(loss, first, second):
    np.testing.assert_allclose(loss, [(first + second) / 2], rtol=1e-6)


def test_is_the_mean_over_classes():
    check(binary_cross_entropy(np.array([[1, 0]]), LOGITS), -math.log(0.8), -math.log(0.7))


def test_label_smoothing():
    loss = binary_cross_entropy(np.array([[1, 0]]), LOGITS, label_smoothing=0.2)
    check(loss, -(0.9 * math.log(0.8) + 0.1 * math.log(0.2)), -(0.1 * math.log(0.3) + 0.9 * math.log(0.7)))


def test_pos_weights_weigh_only_what_holds():
    loss = binary_cross_entropy(np.array([[1, 0]]), LOGITS, pos_weights=[3.0, 5.0])
    check(loss, -3 * math.log(0.8), -math.log(0.7))


def test_focal():
    loss = binary_cross_entropy(np.array([[1, 0]]), LOGITS, focal=2.0)
    check(loss, -(0.2**2) * math.log(0.8), -(0.3**2) * math.log(0.7))


@pytest.mark.parametrize("focal", [0.0, 0.5, 2.0])
def test_is_exact_for_extreme_logits(focal):
    logits = tf.constant([[1e4, -1e4], [-1e4, 1e4]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = binary_cross_entropy(np.array([[1, 0], [1, 0]]), logits, focal=focal)
        total = tf.reduce_sum(loss)
    np.testing.assert_array_equal(loss, [0.0, 1e4])
    np.testing.assert_allclose(tape.gradient(total, logits).numpy(), [[0.0, 0.0], [-0.5, 0.5]], atol=1e-6)


def test_computes_in_float32():
    loss = binary_cross_entropy(tf.constant([[1.0]], tf.float16), tf.constant([[-20.0]], tf.float16))
    assert loss.dtype == tf.float32
    np.testing.assert_allclose(loss, [20.0], rtol=1e-6)
