from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtl.training.keras_internals.adam import KERAS_CLASSES, Adam, AdamW, adam_in_one_pass
from tests.two_tasks import batch, make_model

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


@pytest.mark.parametrize("kind", [keras.optimizers.AdamW, AdamW])
def test_half_precision_takes_the_step_of_keras(kind: type) -> None:
    """1 decays to 0.95, and falls by 0.1; bfloat16 holds three digits."""
    variable, optimizer = keras.Variable(1.0, dtype="bfloat16"), kind(0.1, 0.5, beta_1=0.5, beta_2=0.5)
    optimizer.build([variable])
    adam_in_one_pass(optimizer)
    step = tf.function(partial(optimizer.apply, [tf.constant(4.0, "bfloat16")], [variable]))
    step()
    assert float(variable.value) == pytest.approx(0.85, abs=0.005) and "ResourceApplyAdam" not in operations(step)


def operations(step: Any) -> list[str]:
    """Types of the operations in a traced function."""
    return [operation.type for operation in step.get_concrete_function().graph.get_operations()]


def test_keras_classes_stay_as_they_are() -> None:
    """One instance takes the step of one operation; another, and a class that derives from Keras's, take Keras's."""
    results = []
    for optimizer, replaced in ((keras.optimizers.Adam(0.1), True), (keras.optimizers.Adam(0.1), False), (Tenfold(0.1), True)):
        variable = keras.Variable(3.0)
        optimizer.build([variable])
        if replaced:
            adam_in_one_pass(optimizer)
        step = tf.function(partial(optimizer.apply, [tf.constant(4.0)], [variable]))
        step()
        results.append((round(float(variable.value), 4), "ResourceApplyAdam" in operations(step)))
    assert results == [(2.9, True), (2.9, False), (2.0, False)]
    assert all(kind.update_step.__module__.startswith("keras.") for kind in KERAS_CLASSES)


def test_what_derives_from_ours_goes_on_to_the_one_operation() -> None:
    class Doubled(Adam):
        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            super().update_step(gradient, variable, 2 * learning_rate)

    variable, optimizer = keras.Variable(3.0), Doubled(0.1)
    step = tf.function(partial(optimizer.apply, [tf.constant(4.0)], [variable]))
    optimizer.build([variable])
    step()
    assert float(variable.value) == pytest.approx(2.8, abs=1e-5) and "ResourceApplyAdam" in operations(step)


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ("adam", Adam),
        ("AdamW", AdamW),
        (keras.optimizers.Adam(0.1), keras.optimizers.Adam),
        (keras.optimizers.LossScaleOptimizer(keras.optimizers.AdamW(0.1)), keras.optimizers.LossScaleOptimizer),
        (
            keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(AdamW(0.1), {".*mood.*": keras.optimizers.Adam(0.1)})),
            keras.optimizers.MultiOptimizer,
        ),
    ],
)
def test_a_saved_optimizer_goes_on_as_it_was(given: Any, kind: type, tmp_path: Path) -> None:
    """Whatever `compile` was given: the same class comes back, with the same state, and makes the same next step."""
    model, (x, y, weight) = make_model(given), batch()
    model.fit(x, y, sample_weight=weight, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for each in (model, loaded):
        assert type(each.optimizer) is kind
        each.fit(x, y, sample_weight=weight, shuffle=False, verbose=0)
    for ours, theirs in zip(
        [*model.variables, *model.optimizer.variables], [*loaded.variables, *loaded.optimizer.variables], strict=True
    ):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


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
    assert operations(step).count("ResourceApplyAdam") == 1
