import numpy as np
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
