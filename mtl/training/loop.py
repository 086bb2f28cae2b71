"""Loops of Keras on any number of replicas."""

from contextlib import nullcontext
from typing import Any

import keras
import tensorflow as tf

from mtl.training.failures import explained
from mtl.training.forking import check_process
from mtl.training.keras_internals.data_adapters import split_validation, whole_batches
from mtl.training.keras_internals.steps import BuiltModel, make_function, make_predict_function, named_arguments
from mtl.training.keras_internals.strategies import agree_on_shuffling, several_processes, strategy_of
from mtl.training.resume.checkpoint import Checkpoint
from mtl.utils.texts import refuse_texts

__all__ = ["Loop"]


class Loop(BuiltModel):
    """A Keras model whose `fit`, `evaluate` and `predict` run its steps on every replica of its strategy.

    Batches stay whole until a replica takes its rows. All machines must have the same data in the same order.
    """

    train_function: Any
    test_function: Any
    predict_function: Any

    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Train the model, as in Keras. The order of a `tf.data.Dataset` is not changed.

        Under a strategy, each step splits its batch over the replicas. All machines must have the same data, as with
        `mtl.data.mix`; arrays are shuffled in the same order. With a `mtl.callbacks.Checkpoint` among the callbacks, an
        interrupted training continues.
        """
        check_process()
        given = named_arguments(keras.Model.fit, self, args, kwargs)
        _refuse_class_weight("fit", given.pop("class_weight", None))
        refuse_texts(given.get("x"), given.get("y"))
        validation = given.get("validation_data")
        refuse_texts(*validation[:2] if isinstance(validation, tuple) else (validation,))
        if isinstance(given.get("x"), (tf.data.Dataset, tf.distribute.DistributedDataset)):
            given.setdefault("shuffle", False)
        callbacks = keras.tree.flatten(getattr(given.get("callbacks"), "callbacks", given.get("callbacks")))
        checkpoints = [callback for callback in callbacks if isinstance(callback, Checkpoint)]
        if len(checkpoints) > 1:
            raise ValueError(
                f"Expected at most one Checkpoint among the callbacks; got {len(checkpoints)}. Leave out the others."
            )
        checkpoint = checkpoints[0] if checkpoints else None
        going_on = checkpoint.going_on(self, given, callbacks) if checkpoint else nullcontext(given)
        with explained(strategy_of(self)), going_on as given:
            return super().fit(**self._whole_fit(given))

    def training_state(self) -> list[keras.Variable]:
        """List of all variables that training changes: weights, random numbers, metrics, optimizer."""
        return [*self.variables, *self.metrics_variables, *self.optimizer.variables]

    def train_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        given = named_arguments(keras.Model.train_on_batch, self, args, kwargs)
        _refuse_class_weight("train_on_batch", given.pop("class_weight", None))
        return super().train_on_batch(**given)

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        check_process()
        given = named_arguments(keras.Model.evaluate, self, args, kwargs)
        refuse_texts(given.get("x"), given.get("y"))
        if not given.get("_use_cached_eval_dataset"):
            given["x"] = whole_batches(
                given.pop("x", None),
                given.pop("y", None),
                given.pop("sample_weight", None),
                batch_size=given.pop("batch_size", None),
                steps_per_epoch=given.get("steps"),
            )
        return super().evaluate(**given)

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        check_process()
        given = named_arguments(keras.Model.predict, self, args, kwargs)
        refuse_texts(given["x"])
        batch_size = given.pop("batch_size", None)
        given["x"] = whole_batches(given["x"], batch_size=batch_size, steps_per_epoch=given.get("steps"))
        return super().predict(**given)

    def _whole_fit(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of `fit` with data whose batches stay whole until a replica takes its rows."""
        given = dict(given)
        arrays = (given.pop("x", None), given.pop("y", None), given.pop("sample_weight", None))
        share, batch_size = given.pop("validation_split", 0.0), given.pop("batch_size", None)
        validation, shuffle = given.get("validation_data"), given.pop("shuffle", True)
        if shuffle and several_processes(strategy_of(self)):
            agree_on_shuffling(self.distribute_strategy)
        if share and validation is None:
            arrays, validation = split_validation(arrays, share)
        if validation is not None:
            given["validation_data"] = whole_batches(
                *keras.utils.unpack_x_y_sample_weight(validation),
                batch_size=given.pop("validation_batch_size", None) or batch_size,
                steps_per_epoch=given.get("validation_steps"),
            )
        given["x"] = whole_batches(
            *arrays,
            batch_size=batch_size,
            steps_per_epoch=given.get("steps_per_epoch"),
            shuffle=shuffle,
        )
        return given

    def make_test_function(self, force: bool = False) -> None:
        check_process()
        if self.test_function is None or force:
            self.test_function = make_function(self, self.test_step)

    def make_predict_function(self, force: bool = False) -> None:
        check_process()
        if strategy_of(self) is None:
            super().make_predict_function(force)
        elif self.predict_function is None or force:
            self.predict_function = make_predict_function(self)


def _refuse_class_weight(method: str, value: Any) -> None:
    if value is not None:
        raise ValueError(
            f"{method} takes no 'class_weight': heads weigh their classes. Set it there: Classification(class_weights={{...}})."
        )
