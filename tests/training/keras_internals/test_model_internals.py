"""What the engine relies on inside Keras and TensorFlow.

A failure means that a new Keras moved it: mend mtl/training/keras_internals/model_internals.py.
"""

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

from mtl.training.keras_internals import model_internals, optimizer_internals
from mtl.training.resume.epoch_batches import EpochBatches
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
    assert not model_internals.unrepeatable(data.batch(2)) and not model_internals.unrepeatable(shuffled.batch(2))
    for anew in (data.shuffle(4), data.shuffle(4, seed=1)):
        assert model_internals.unrepeatable(anew.batch(2).prefetch(1)) and model_internals.unrepeatable(
            tf.data.Dataset.zip(data, anew)
        )


def test_what_is_made_of_a_mixtures_dataset_is_shuffled_too():
    for shuffle in (True, False):
        dataset = tf.data.Dataset.range(4)
        dataset.mixture = type("Mixture", (), {"shuffle": shuffle})()
        assert model_internals.unrepeatable(dataset.map(lambda each: each).take(2)) is shuffle


def test_an_epoch_that_begins_at_a_step():
    seen, batches = [], EpochBatches(lambda epoch, step: tf.data.Dataset.range(10 * epoch + step, 10 * epoch + 5), 5)
    data = model_internals.ResumableAdapter(batches, 2, 3)
    for _ in range(2):
        for first, last, iterator in data.steps(2):
            seen.append((first, last, int(next(iterator))))
    assert seen == [(3, 4, 23), (0, 1, 30), (2, 3, 31), (4, 5, 32)]


@pytest.mark.parametrize("asked", [None, True])
def test_no_dataset_tunes_itself_unless_it_is_asked_to(asked):
    """Its thread may sleep through the end of an iterator, which then waits for it."""
    data = tf.data.Dataset.range(4).batch(2)
    if asked is not None:
        options = tf.data.Options()
        options.autotune.enabled = asked
        data = data.with_options(options)
    whole = model_internals.whole_batches(data).get_tf_dataset()
    placed = model_internals.ResumableAdapter(EpochBatches(lambda epoch, step: data, 2), 0, 0).get_tf_dataset()
    for each in (whole, placed):
        assert each._dataset.options().autotune.enabled is bool(asked)
        assert [batch.numpy().tolist() for batch in each] == [[0, 1], [2, 3]]


def test_private_names_are_where_they_were():
    missing = [f"{owner.__name__}.{name}" for owner, names in PRIVATE.items() for name in names if not hasattr(owner, name)]
    optimizer = keras.optimizers.Adam()
    missing += [
        f"Adam().{name}"
        for name in ("_iterations", "_trainable_variables", "_variables", "_distribution_strategy", "_var_key")
        if not hasattr(optimizer, name)
    ]
    optimizer.build([keras.Variable(1.0)])
    missing += [
        f"built Adam().{name}"
        for name in ("_momentums", "_velocities", "_get_variable_index", "_use_weight_decay")
        if not hasattr(optimizer, name)
    ]
    missing += [] if keras.layers.Dropout(0.1)._seed_generators else ["Dropout()._seed_generators"]
    missing += [] if hasattr(make_model("sgd"), "_distribute_strategy") else ["Model()._distribute_strategy"]
    assert not missing


def test_keras_calls_what_is_put_in_its_place():
    fit, apply = inspect.getsource(keras.Model.fit), inspect.getsource(BaseOptimizer._backend_apply_gradients)
    assert "self._backend_update_step(" in apply and "self._apply_weight_decay(" in apply
    for call in (
        "self._maybe_symbolic_build(iterator=",
        "self.make_train_function()",
        "self.train_function(iterator)",
        "self.evaluate(",
    ):
        assert call in fit
    assert "_use_cached_eval_dataset=True" in fit and "array_slicing.train_validation_split(" in fit
    for name in optimizer_internals.UPDATES:
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
    model_internals.differ_in_dropout(keras.Sequential([layer]))
    np.testing.assert_array_equal(keras.random.uniform((4,), seed=layer.seed_generator), before)


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
    model_internals.prepare_saving()
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
    assert model_internals.given_to(keras.Model.fit, model, (1, 2, 8), {"epochs": 3}) == {
        "x": 1,
        "y": 2,
        "batch_size": 8,
        "epochs": 3,
    }
    given = model_internals.given_to(keras.Model.evaluate, model, (), {"x": 1, "_use_cached_eval_dataset": True})
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


def test_a_step_is_traced_once_for_all_lengths(monkeypatch):
    """Eight lengths, twice over, and a last batch of fewer rows; then an epoch more."""
    model = make_model("adam")
    traces = []
    train_step = type(model).train_step

    def noted(self, data):
        traces.append(data)
        return train_step(self, data)

    monkeypatch.setattr(type(model), "train_step", noted)
    x, y, weight = batch(rows=4)
    batches = [
        ({"token_ids": np.ones((4 - length // 8, length), "int32")}, *cut(4 - length // 8, y, weight)) for length in range(1, 9)
    ]
    spec = keras.tree.map_structure(lambda each: tf.TensorSpec([None] * each.ndim, each.dtype), batches[0])
    data = tf.data.Dataset.from_generator(lambda: iter(batches * 2), output_signature=spec)
    data = data.apply(tf.data.experimental.assert_cardinality(16))
    model.fit(data, epochs=2, verbose=0)
    model.fit(data, verbose=0)
    assert int(model.optimizer.iterations) == 48 and len(traces) == 1


def cut(rows, *parts):
    """The first rows of each part of a batch."""
    return [keras.tree.map_structure(lambda each: each[:rows], part) for part in parts]


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
