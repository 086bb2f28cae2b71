import numpy as np
import pytest
import tensorflow as tf

from mtl.balancing import IMTLL


def test_by_hand():
    balancer = IMTLL()
    balancer.bind(["a", "b"])
    balancer.task_variables("a")[0].assign(np.log(0.5))
    with tf.GradientTape() as tape:
        total = balancer.combine([2.0, 3.0])
    np.testing.assert_allclose(total, 1.0 + np.log(2.0) + 3.0, rtol=1e-6)
    # d/ds = e^s L - 1: 0 where the scaled loss is 1.
    np.testing.assert_allclose(tape.gradient(total, [v.value for v in balancer.state.trainable_variables]), [0.0, 2.0], atol=1e-6)


def test_a_solved_task_is_scaled_no_further_than_the_floor():
    balancer = IMTLL(floor=0.01)
    balancer.bind(["a"])
    scale = balancer.task_variables("a")[0]
    for loss, value in ((0.0, 9.0), (1.0, 9.0)):
        scale.assign(value)
        with tf.GradientTape() as tape:
            total = balancer.combine([loss])
        np.testing.assert_allclose(total, loss / 0.01 - np.log(100.0), rtol=1e-5)
        # d/ds = e^s L - 1, where it does not lift a scale at its bound.
        np.testing.assert_allclose(tape.gradient(total, scale.value), 0.0 if loss == 0 else 1.0 / 0.01 - 1, rtol=1e-5)
    assert IMTLL.from_config(balancer.get_config()).floor == 0.01
    with pytest.raises(ValueError, match="IMTLL expects `floor` in"):
        IMTLL(floor=-1.0)
