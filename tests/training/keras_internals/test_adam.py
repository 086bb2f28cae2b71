from functools import partial
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtl.training.keras_internals.adam import adam_in_one_pass
from mtl.training.keras_internals.optimizer_internals import optimizers_in

OPTIMIZERS: dict[str, Any] = {
    "Adam": lambda: keras.optimizers.Adam(0.1, 0.8, 0.99, 1e-3),
    "AdamW": lambda: keras.optimizers.AdamW(0.1, weight_decay=0.5),
    "clipped": lambda: keras.optimizers.AdamW(0.1, global_clipnorm=0.3),
    "schedule": lambda: keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.1, 5)),
    "accumulating": lambda: keras.optimizers.AdamW(0.1, gradient_accumulation_steps=2),
    "averaging": lambda: keras.optimizers.Adam(0.1, use_ema=True, ema_overwrite_frequency=2),
    "scaled": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.1), initial_scale=4.0),
}


def train(optimizer: Any, replaced: bool) -> list[np.ndarray]:
    """Five steps on two variables, one of which weight decay leaves alone."""
    variables = [
        keras.Variable([[1.0, -2.0], [0.5, 3.0]]),
        keras.Variable([0.25], name="bias"),
    ]
    if optimizer.weight_decay is not None:
        optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.build(variables)
    if replaced:
        adam_in_one_pass(optimizer)
        assert all(each._steps_otherwise for each in optimizers_in(optimizer))

    @tf.function
    def step(number: tf.Tensor) -> None:
        gradients = [tf.constant([[0.1, 0.2], [0.3, -0.4]]) * number, tf.constant([0.5])]
        optimizer.apply(gradients, variables)

    for number in range(1, 6):
        step(tf.constant(float(number)))
    return [np.asarray(variable.numpy(), "float32") for variable in [*variables, *optimizer.variables]]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_one_pass_is_what_keras_does(name: str) -> None:
    for keras_own, ours in zip(train(OPTIMIZERS[name](), False), train(OPTIMIZERS[name](), True), strict=True):
        np.testing.assert_allclose(ours, keras_own, rtol=1e-5, atol=5e-6)  # Of five steps of 0.1.


def test_the_first_step_by_hand() -> None:
    """w = 2 decays by 0.1 x 0.5 x 2; m = 0.1 x 4 and v = 0.001 x 16, corrected 4 and 16: w falls by 0.1 x 4 / 4."""
    variable = keras.Variable(2.0)
    optimizer = keras.optimizers.AdamW(0.1, weight_decay=0.5, epsilon=0.0)
    optimizer.build([variable])
    adam_in_one_pass(optimizer)
    optimizer.apply([tf.constant(4.0)], [variable])
    assert float(variable.value) == pytest.approx(2.0 - 0.1 - 0.1)
    assert int(optimizer.iterations) == 1


class Tenfold(keras.optimizers.Adam):
    """Goes on to Adam's update after something of its own."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        super().update_step(gradient, variable, 10 * learning_rate)


class Halved(keras.optimizers.Adam):
    """An update of its own."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        self.assign(variable, variable / 2)


@pytest.mark.parametrize(
    ("optimizer", "after"),
    [(Halved(0.1), 0.5), (keras.optimizers.SGD(0.1), 0.6), (keras.optimizers.Adam(0.1, amsgrad=True), 0.9)],
)
def test_other_optimizers_stay_as_they_are(optimizer: Any, after: float) -> None:
    variable = keras.Variable(1.0)
    optimizer.build([variable])
    adam_in_one_pass(optimizer)
    optimizer.apply([tf.constant(4.0)], [variable])
    assert float(variable.value) == pytest.approx(after, abs=1e-5)


def test_half_precision_stays_with_keras() -> None:
    optimizer = keras.optimizers.Adam(0.1)
    optimizer.build([keras.Variable(1.0, dtype="bfloat16")])
    before = vars(optimizer).copy()
    adam_in_one_pass(optimizer)
    assert vars(optimizer).keys() == before.keys()


def test_what_derives_from_adam_keeps_its_own_part() -> None:
    variable, other = keras.Variable(3.0), keras.Variable(1.0)
    optimizer, untouched = Tenfold(0.1), keras.optimizers.Adam(0.1)
    optimizer.build([variable])
    untouched.build([other])
    adam_in_one_pass(optimizer)
    kinds = []
    for each, of in ((optimizer, variable), (untouched, other)):
        step = tf.function(partial(each.apply, [tf.constant(4.0)], [of]))
        step()
        operations = step.get_concrete_function().graph.get_operations()
        kinds.append("ResourceApplyAdam" in [operation.type for operation in operations])
    assert (float(variable.value), float(other.value)) == (pytest.approx(2.0, abs=1e-5), pytest.approx(0.9, abs=1e-5))
    assert kinds == [True, False]


def test_each_group_of_variables_is_updated_so() -> None:
    groups = keras.optimizers.OptimizerMap(keras.optimizers.SGD(0.5), {".*fast.*": keras.optimizers.Adam(0.1)})
    optimizer = keras.optimizers.MultiOptimizer(groups)
    slow, fast = keras.Variable(1.0, name="slow"), keras.Variable(1.0, name="fast")
    optimizer.build([slow, fast])
    adam_in_one_pass(optimizer)

    @tf.function
    def step() -> None:
        optimizer.apply([tf.constant(1.0), tf.constant(1.0)], [slow, fast])

    step()
    assert (float(slow.value), float(fast.value)) == (0.5, pytest.approx(0.9, abs=1e-5))
    kinds = [operation.type for operation in step.get_concrete_function().graph.get_operations()]
    assert kinds.count("ResourceApplyAdam") == 1
