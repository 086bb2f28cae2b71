"""What the engine relies on inside Keras and TensorFlow.

A failure means that a new Keras moved it: mend mtl/training/keras_internals.
"""

import configparser
import inspect
from pathlib import Path

import keras
import tensorflow as tf
from keras.src.backend.tensorflow.optimizer import TFOptimizer
from keras.src.models import cloning, functional
from keras.src.optimizers.base_optimizer import BaseOptimizer
from keras.src.trainers.data_adapters import array_slicing, data_adapter, get_data_adapter
from keras.src.trainers.epoch_iterator import EpochIterator
from tensorflow.python.eager import context

from mtl.training.keras_internals import optimizer_internals
from tests.two_tasks import make_model

#: Where each private name is looked up, by whom it is used.
PRIVATE = {
    keras.Model: ("_maybe_symbolic_build", "_flatten_layers", "_get_metrics_result_or_logs"),
    functional.Functional: ("_run_through_graph",),
    cloning: ("_clone_functional_model",),
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
    setup.read(Path(__file__).parents[3] / "setup.cfg")
    assert "keras>=3.15,<3.16" in setup["options"]["install_requires"].split("\n")
    assert keras.__version__.startswith("3.15.")


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
