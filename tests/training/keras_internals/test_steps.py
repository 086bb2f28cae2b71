import keras
import numpy as np
import pytest
import tensorflow as tf

from mtl.training.keras_internals.steps import named_arguments
from tests.two_tasks import batch, make_model


def test_arguments_by_name_or_place():
    model = make_model("sgd")
    assert named_arguments(keras.Model.fit, model, (1, 2, 8), {"epochs": 3}) == {
        "x": 1,
        "y": 2,
        "batch_size": 8,
        "epochs": 3,
    }
    given = named_arguments(keras.Model.evaluate, model, (), {"x": 1, "_use_cached_eval_dataset": True})
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


def test_keras_does_not_take_a_model_apart():
    model = make_model("sgd")
    for options in ({}, {"clone_function": lambda layer: layer}):
        with pytest.raises(TypeError, match=r"clone_model cannot take a \w+ apart.*model.subset\(model.task_names\)"):
            keras.models.clone_model(model, **options)
