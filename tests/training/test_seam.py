"""What the engine relies on inside Keras and TensorFlow. A failure says that a new Keras moved it: mend mtl/training/seam.py."""

import configparser
import inspect
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src.backend.tensorflow.optimizer import TFOptimizer
from keras.src.optimizers.base_optimizer import BaseOptimizer
from keras.src.trainers.data_adapters import array_slicing, data_adapter, get_data_adapter
from keras.src.trainers.epoch_iterator import EpochIterator
from tensorflow.python.eager import context

from mtl.training import seam
from mtl.training.passes import Passes
from tests.training.test_own import OPTIMIZERS
from tests.two_tasks import batch, make_model

#: Where each private name is looked up, by whom it is used.
PRIVATE = {
    keras.Model: ("_maybe_symbolic_build", "_flatten_layers", "_get_metrics_result_or_logs"),
    EpochIterator: ("_enumerate_iterator",),
    tf.data.Dataset: ("_inputs",),
    TFOptimizer: (
        "_apply_weight_decay",
        "_backend_increment_gradient_accumulators",
        "_backend_update_step",
        "_overwrite_model_variables_with_average_value",
    ),
    BaseOptimizer: (
        "_apply_weight_decay",
        "_backend_increment_gradient_accumulators",
        "_overwrite_model_variables_with_average_value",
    ),
    data_adapter.DataAdapter: ("get_tf_dataset", "num_batches", "on_epoch_begin", "on_epoch_end"),
    array_slicing: ("train_validation_split",),
    context: ("global_seed",),
}


def test_the_declared_keras_is_the_one_that_runs():
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).parent.parent.parent / "setup.cfg")
    assert "keras>=3.15,<3.16" in setup["options"]["install_requires"].split("\n")
    assert keras.__version__.startswith("3.15.")


def test_shuffled_datasets_are_seen():
    data = tf.data.Dataset.range(4)
    shuffled = data.shuffle(4, seed=1, reshuffle_each_iteration=False)
    assert {"_seed", "_seed2", "_reshuffle_each_iteration"} <= vars(shuffled).keys()
    assert not seam.unrepeatable(data.batch(2)) and not seam.unrepeatable(shuffled.batch(2))
    for anew in (data.shuffle(4), data.shuffle(4, seed=1)):
        assert seam.unrepeatable(anew.batch(2).prefetch(1)) and seam.unrepeatable(tf.data.Dataset.zip(data, anew))


def test_an_epoch_that_begins_at_a_step():
    seen, batches = [], Passes(lambda epoch, step: tf.data.Dataset.range(10 * epoch + step, 10 * epoch + 5), 5)
    data = seam.Placed(batches, 2, 3)
    for _ in range(2):
        for first, last, iterator in data.steps(2):
            seen.append((first, last, int(next(iterator))))
    assert seen == [(3, 4, 23), (0, 1, 30), (2, 3, 31), (4, 5, 32)]


def test_private_names_are_where_they_were():
    missing = [f"{owner.__name__}.{name}" for owner, names in PRIVATE.items() for name in names if not hasattr(owner, name)]
    optimizer = keras.optimizers.Adam()
    missing += [
        f"Adam().{name}"
        for name in ("_iterations", "_trainable_variables", "_variables", "_distribution_strategy")
        if not hasattr(optimizer, name)
    ]
    missing += [] if keras.layers.Dropout(0.1)._seed_generators else ["Dropout()._seed_generators"]
    missing += [] if hasattr(make_model("sgd"), "_distribute_strategy") else ["Model()._distribute_strategy"]
    assert not missing


def test_keras_calls_what_is_put_in_its_place():
    fit, apply = inspect.getsource(keras.Model.fit), inspect.getsource(BaseOptimizer._backend_apply_gradients)
    for call in (
        "self._maybe_symbolic_build(iterator=",
        "self.make_train_function()",
        "self.train_function(iterator)",
        "self.evaluate(",
    ):
        assert call in fit
    assert "_use_cached_eval_dataset=True" in fit and "array_slicing.train_validation_split(" in fit
    for name in seam.UPDATES:
        assert f"self.{name}(" in apply
    assert "isinstance(x, data_adapter.DataAdapter)" in inspect.getsource(get_data_adapter)
    assert ".next()" in inspect.getsource(keras.src.random.seed_generator.draw_seed)


def test_one_device_keeps_keras_optimizers_and_random_stream():
    model = make_model("adam")
    x, y, weight = batch()
    model.fit(x, y, sample_weight=weight, verbose=0)
    assert not hasattr(model.optimizer, "_updates_each_replica")
    layer = keras.layers.Dropout(0.5, seed=3)
    before = keras.random.uniform((4,), seed=keras.random.SeedGenerator(3)).numpy()
    seam.differ_in_dropout(keras.Sequential([layer]))
    np.testing.assert_array_equal(keras.random.uniform((4,), seed=layer.seed_generator), before)


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
            seam.update_each_replica(optimizer)
        for step in range(1, 6):
            optimizer.apply([tf.constant([[0.1, 0.2], [0.3, -0.4]]) * step, tf.constant([0.5])], variables)
        results.append([variable.numpy() for variable in [*variables, *optimizer.variables]])
    for keras_own, ours in zip(*results, strict=True):
        np.testing.assert_allclose(ours, keras_own, rtol=1e-6, atol=1e-7)


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
    seam.prepare_saving()
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


def test_arguments_by_name_or_place():
    model = make_model("sgd")
    assert seam.given_to(keras.Model.fit, model, (1, 2, 8), {"epochs": 3}) == {"x": 1, "y": 2, "batch_size": 8, "epochs": 3}
    given = seam.given_to(keras.Model.evaluate, model, (), {"x": 1, "_use_cached_eval_dataset": True})
    assert given == {"x": 1, "_use_cached_eval_dataset": True}


def test_the_end_of_the_data_is_no_step():
    x, y, weight = batch()
    spec = keras.tree.map_structure(lambda each: tf.TensorSpec(each.shape, each.dtype), (x, y, weight))
    model = make_model("adam")
    for steps_per_execution in (1, 2):
        model.compile("adam", steps_per_execution=steps_per_execution)
        dataset = tf.data.Dataset.from_generator(lambda: iter([(x, y, weight)] * 3), output_signature=spec)
        with pytest.warns(UserWarning, match="ran out of data"):
            model.fit(dataset, epochs=3, verbose=0)
        assert int(model.optimizer.iterations) == 9


@pytest.mark.parametrize("eagerly", [True, False])
def test_several_steps_in_an_execution(eagerly):
    """5 batches by 2: 2, 2 and 1."""
    x, y, weight = batch(rows=10)
    weights = []
    for steps_per_execution in (1, 2):
        model = make_model("adam")
        model.compile(keras.optimizers.Adam(0.01), steps_per_execution=steps_per_execution, run_eagerly=eagerly)
        history = model.fit(x, y, sample_weight=weight, batch_size=2, shuffle=False, epochs=2, verbose=0).history
        assert int(model.optimizer.iterations) == 10
        weights.append([*model.get_weights(), np.asarray(history["loss"])])
    for one, two in zip(*weights, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)
