import numpy as np
import tensorflow as tf

from mtl.balancing import UncertaintyWeighting


def test_by_hand():
    balancer = UncertaintyWeighting()
    balancer.bind(["a", "b"])
    for variable, value in zip(balancer.state.trainable_variables, [np.log(2.0), np.log(4.0)], strict=True):
        variable.assign(value)
    with tf.GradientTape() as tape:
        total = balancer.combine([4.0, 4.0])
    np.testing.assert_allclose(total, 1.0 + 0.5 + 0.5 * np.log(8.0), rtol=1e-6)
    # d/ds = (1 - L e^-s) / 2: 0 where s = log L.
    gradients = tape.gradient(total, [variable.value for variable in balancer.state.trainable_variables])
    np.testing.assert_allclose(gradients, [-0.5, 0.0], atol=1e-6)


def test_a_missing_task_has_no_term_and_no_gradient():
    balancer = UncertaintyWeighting()
    balancer.bind(["a", "b"])
    balancer.task_variables("b")[0].assign(3.0)
    with tf.GradientTape() as tape:
        total = balancer.combine([4.0, 4.0], [True, False])
    assert float(total) == 2.0
    assert float(tape.gradient(total, balancer.task_variables("b")[0].value)) == 0.0
