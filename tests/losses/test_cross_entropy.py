import math

import numpy as np
import pytest
import tensorflow as tf

from mtl.losses import class_distribution, cross_entropy

LOGITS = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.5, 0.4]]))


def test_is_minus_the_log_probability():
    np.testing.assert_allclose(cross_entropy(np.array([0, 2]), LOGITS), [-math.log(0.7), -math.log(0.4)], rtol=1e-6)


def test_takes_every_form_of_target():
    expected = cross_entropy(np.array([0, 2]), LOGITS)
    for target in (np.array([[0], [2]]), np.array([0.0, 2.0]), np.eye(3)[[0, 2]], np.eye(3, dtype="int32")[[0, 2]]):
        np.testing.assert_array_equal(cross_entropy(target, LOGITS), expected)


def test_soft_targets():
    expected = -(0.25 * math.log(0.7) + 0.75 * math.log(0.2))
    np.testing.assert_allclose(cross_entropy(np.array([[0.25, 0.75, 0.0]]), LOGITS[:1]), [expected], rtol=1e-6)


def test_label_smoothing():
    expected = -(0.8 * math.log(0.7) + 0.1 * math.log(0.2) + 0.1 * math.log(0.1))
    np.testing.assert_allclose(cross_entropy(np.array([0]), LOGITS[:1], label_smoothing=0.3), [expected], rtol=1e-6)


def test_class_weights_weigh_each_class_term():
    weights = [2.0, 3.0, 5.0]
    plain = cross_entropy(np.array([0, 2]), LOGITS, class_weights=weights)
    np.testing.assert_allclose(plain, [-2 * math.log(0.7), -5 * math.log(0.4)], rtol=1e-6)
    smooth = cross_entropy(np.array([0]), LOGITS[:1], class_weights=weights, label_smoothing=0.3)
    expected = -(2 * 0.8 * math.log(0.7) + 3 * 0.1 * math.log(0.2) + 5 * 0.1 * math.log(0.1))
    np.testing.assert_allclose(smooth, [expected], rtol=1e-6)


def test_focal():
    expected = [-(0.3**2) * math.log(0.7), -(0.6**2) * math.log(0.4)]
    np.testing.assert_allclose(cross_entropy(np.array([0, 2]), LOGITS, focal=2.0), expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_is_exact_for_extreme_logits(dtype):
    logits = tf.cast([[30000.0, -30000.0], [30000.0, -30000.0]], dtype)
    loss = cross_entropy(np.array([0, 1]), logits)
    assert loss.dtype == tf.float32
    gap = 2 * float(tf.cast(logits[0, 0], tf.float32))
    np.testing.assert_array_equal(loss, [0.0, gap])


@pytest.mark.parametrize("focal", [0.0, 0.5, 2.0])
def test_gradients_are_finite_for_extreme_logits(focal):
    logits = tf.constant([[1e4, -1e4, 0.0], [1e4, -1e4, 0.0]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = tf.reduce_sum(cross_entropy(np.array([0, 1]), logits, focal=focal))
    gradient = tape.gradient(loss, logits).numpy()
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(gradient, [[0, 0, 0], [1, -1, 0]], atol=1e-4)


def test_a_class_ruled_out_costs_nothing_where_it_is_not_the_target():
    np.testing.assert_allclose(cross_entropy(np.array([0]), np.array([[0.0, -np.inf, 0.0]])), [math.log(2)], rtol=1e-6)


def test_an_id_out_of_range_is_nan():
    loss = cross_entropy(np.array([-1, 3, 1]), np.zeros([3, 3], "float32")).numpy()
    assert np.isnan(loss).tolist() == [True, True, False]


def test_distribution_of_tokens():
    result = class_distribution(np.array([[0, 1]]), np.zeros([1, 2, 2], "float32"))
    np.testing.assert_array_equal(result, [[[1, 0], [0, 1]]])
