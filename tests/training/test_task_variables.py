from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtl.training.task_variables import TaskVariables, slots_of
from tests.two_tasks import batch, make_model

#: Each optimizer of Keras with what makes it keep and move most.
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "SGD": {"momentum": 0.9},
    "RMSprop": {"momentum": 0.9},
    "Adam": {"amsgrad": True},
    "AdamW": {"weight_decay": 0.5},
    "Adadelta": {},
    "Adagrad": {},
    "Adamax": {},
    "Nadam": {},
    "Ftrl": {},
    "Lion": {"weight_decay": 0.5},
    "Adafactor": {"weight_decay": 0.5},
    "Lamb": {},
    "Muon": {"adam_weight_decay": 0.5},
    "ScheduleFreeAdamW": {"weight_decay": 0.5},
    "LossScaleOptimizer": {},
    "MultiOptimizer": {},
}


def make_optimizer(name, rate=0.05):
    if name == "LossScaleOptimizer":
        return keras.optimizers.LossScaleOptimizer(keras.optimizers.AdamW(rate), initial_scale=4.0)
    if name == "MultiOptimizer":
        groups = {".*embedding.*": keras.optimizers.SGD(rate, momentum=0.9)}
        return keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(keras.optimizers.AdamW(rate), groups))
    return getattr(keras.optimizers, name)(learning_rate=rate, **OPTIMIZERS[name])


def test_every_optimizer_of_keras_is_in_the_table():
    families = {
        name
        for name, value in vars(keras.optimizers).items()
        if isinstance(value, type) and issubclass(value, keras.optimizers.Optimizer)
    }
    assert families - {"Optimizer"} - set(OPTIMIZERS) == set()


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_a_task_without_rows_keeps_its_head_and_its_momentum(name):
    optimizer = make_optimizer(name)
    model = make_model(optimizer)
    x, y, weight = batch()
    model.fit(x, y, sample_weight=weight, verbose=0)  # Momentum of both heads is filled.
    own = model.heads["score"].trainable_variables
    slots = slots_of(optimizer, own)
    before = [v.numpy() for v in own], [v.numpy() for v in slots]
    encoder, other = model.encoder.get_weights(), model.heads["mood"].get_weights()
    model.fit(x, y, sample_weight={**weight, "score": np.zeros(8, "float32")}, verbose=0)
    for kept, now in zip(before[0] + before[1], [*own, *slots], strict=True):
        np.testing.assert_array_equal(kept, now.numpy())
    assert any((a != b).any() for a, b in zip(encoder, model.encoder.get_weights(), strict=True))
    assert any((a != b).any() for a, b in zip(other, model.heads["mood"].get_weights(), strict=True))
    model.fit(x, y, sample_weight=weight, verbose=0)
    assert any((a != v.numpy()).any() for a, v in zip(before[0], own, strict=True))


def test_slots_are_all_of_adams():
    model = make_model("adam")
    model.optimizer.build(model.trainable_variables)
    own = model.heads["score"].trainable_variables
    names = [variable.name for variable in slots_of(model.optimizer, own)]
    assert len(names) == 2 * len(own) and all("momentum" in name or "velocity" in name for name in names)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("active", [True, False])
def test_values_are_put_back_unless_the_task_was_active(active, compiled):
    own, shared, frozen = (keras.Variable(value, name=f"v{value:.0f}") for value in (1.0, 2.0, 3.0))
    optimizer = keras.optimizers.SGD(0.5, momentum=0.5)
    optimizer.build([own, shared])
    kept = TaskVariables(optimizer, [own, frozen], compiled)
    assert [variable is own for variable in kept.variables] == [True, False]  # The variable and its momentum.
    before = kept.read(tf.constant(active))
    optimizer.apply([tf.constant(4.0), tf.constant(4.0)], [own, shared])
    frozen.assign(9.0)
    kept.restore(before, tf.constant(active))
    momentum = kept.variables[1]
    assert (float(own.value), float(momentum.value)) == ((-1.0, -2.0) if active else (1.0, 0.0))  # 1 - 0.5 x 4
    assert (float(shared.value), float(frozen.value)) == (0.0, 9.0)
