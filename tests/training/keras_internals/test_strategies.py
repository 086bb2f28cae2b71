from typing import Any

import keras
import pytest
import tensorflow as tf

from mtl.training.keras_internals.strategies import prepare_saving
from tests.two_tasks import batch, make_model


def test_what_is_made_outside_the_scope_is_refused():
    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
    x, y, weight = batch()
    outside = make_model("sgd")
    with strategy.scope(), pytest.raises(ValueError, match="The model was made outside the scope of this strategy"):
        outside.fit(x, y, sample_weight=weight, verbose=0)
    optimizer = keras.optimizers.Adam(name="mine")
    with strategy.scope(), pytest.raises(ValueError, match="The optimizer 'mine' was made outside the scope"):
        make_model(optimizer)
    with strategy.scope():
        model = make_model("sgd")
    model.compile("adam")  # By its name it is made inside.
    model.fit(x, y, sample_weight=weight, verbose=0)


def test_saving_makes_no_variables_once_it_is_prepared(tmp_path):
    prepare_saving()
    model = make_model("adamw")
    made: list[dict[str, Any]] = []

    def noted(create, **kwargs):
        made.append(kwargs)
        return create(**kwargs)

    x, y, weight = batch()
    model.fit(x, y, sample_weight=weight, verbose=0)
    with tf.variable_creator_scope(noted):
        model.save(tmp_path / "model.keras")
        model.save_weights(tmp_path / "model.weights.h5")
    assert made == []
