import keras
import numpy as np
import pytest
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


@pytest.mark.parametrize("optimizer", [keras.optimizers.SGD(0.5), keras.optimizers.AdamW(0.05)])
def test_a_solved_task_stays_at_the_floor_and_comes_back(optimizer):
    """From a loss of 0 the log-variance stops at log floor, not lower than a few steps; a loss of 4 brings it to log 4."""
    balancer = UncertaintyWeighting(floor=0.01)
    balancer.bind(["a"])
    variable = balancer.task_variables("a")[0]
    optimizer.build([variable])

    @tf.function
    def step(loss):
        with tf.GradientTape() as tape:
            total = balancer.combine(loss[None])
        optimizer.apply([tape.gradient(total, variable.value)])

    for _ in range(600):
        step(tf.constant(0.0))
    assert np.log(0.01) - 0.6 < float(variable.value) < np.log(0.01) + 0.1
    assert float(balancer.combine([1.0])) <= 0.5 / 0.01
    for _ in range(1500):
        step(tf.constant(4.0))
    if isinstance(optimizer, keras.optimizers.AdamW):
        assert float(variable.value) == pytest.approx(np.log(4.0), abs=0.1)
    else:
        assert float(variable.value) > np.log(0.01)


def test_the_floor_is_a_setting():
    balancer = UncertaintyWeighting.from_config(UncertaintyWeighting(floor=0.0).get_config())
    balancer.bind(["a"])
    balancer.task_variables("a")[0].assign(-20.0)
    np.testing.assert_allclose(balancer.combine([1.0]), 0.5 * np.exp(20.0) - 10.0, rtol=1e-6)
    with pytest.raises(ValueError, match="UncertaintyWeighting expects `floor` in"):
        UncertaintyWeighting(floor=-1.0)
