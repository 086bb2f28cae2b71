import keras
import numpy as np
import pytest
import tensorflow as tf

from mtl.training.keras_internals import optimizer_internals
from tests.training.test_task_variables import OPTIMIZERS


def test_what_is_spared_from_decay_is_added_to_what_is_already():
    optimizer = keras.optimizers.AdamW(0.1, weight_decay=0.5)
    first, second, third = (keras.Variable([1.0]) for _ in range(3))
    optimizer.exclude_from_weight_decay(var_list=[first])
    optimizer_internals.spare_from_decay(optimizer, [second])
    optimizer.build([first, second, third])
    assert [optimizer._use_weight_decay(each) for each in (first, second, third)] == [False, False, True]


@pytest.mark.parametrize("accumulate", [None, 2])
@pytest.mark.parametrize("name", sorted(set(OPTIMIZERS) - {"LossScaleOptimizer", "MultiOptimizer"}))
def test_updating_here_is_what_keras_does(name, accumulate):
    """On one device, where both ways can be taken."""
    results = []
    for here in (False, True):
        variables = [keras.Variable([[1.0, -2.0], [0.5, 3.0]]), keras.Variable([0.25])]
        options = {"use_ema": True, "ema_overwrite_frequency": 2, "gradient_accumulation_steps": accumulate}
        optimizer = getattr(keras.optimizers, name)(0.1, weight_decay=0.1, **options)
        optimizer.build(variables)
        if here:
            optimizer_internals.update_each_replica(optimizer)
        for step in range(1, 6):
            optimizer.apply([tf.constant([[0.1, 0.2], [0.3, -0.4]]) * step, tf.constant([0.5])], variables)
        results.append([variable.numpy() for variable in [*variables, *optimizer.variables]])
    for keras_own, ours in zip(*results, strict=True):
        np.testing.assert_allclose(ours, keras_own, rtol=1e-6, atol=1e-7)
