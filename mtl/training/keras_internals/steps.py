"""Functions that Keras's loops call: one for a step of `fit` and `evaluate`, one for `predict`.

Keras's `fit`, callbacks and logs are used unchanged; only the step is the engine's. Each replica gets the whole batch and takes
its rows, gradients are summed once, and then every replica computes the same update of its copy of the variables.
"""

import itertools
from collections.abc import Callable, Mapping
from functools import partial
from inspect import signature
from typing import Any, NamedTuple

import keras
import tensorflow as tf
from keras.src.models import cloning

from mtl.training.keras_internals.data_adapters import ResumableAdapter
from mtl.training.keras_internals.strategies import check_scope, several_processes
from mtl.training.replicas import on_rows_of_replica

__all__ = ["AfterStep", "BuiltModel", "make_function", "make_predict_function", "named_arguments"]


class BuiltModel(keras.Model):
    """A model that is built in its constructor."""

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Do nothing: Keras's method takes a batch of the data, and fails if the number of replicas does not divide its rows."""
        check_scope(self)
        if isinstance(data := getattr(iterator, "data_adapter", None), ResumableAdapter):
            iterator._enumerate_iterator = partial(data.steps, iterator.steps_per_execution)

    def _run_through_graph(self, *args: Any, **kwargs: Any) -> Any:
        if any(getattr(value, "__module__", None) == cloning.__name__ for value in kwargs.values()):
            raise TypeError(
                f"Keras's clone_model cannot take a {type(self).__name__} apart into layers. Copy it with "
                "model.subset(model.task_names), or with from_config(model.get_config()) for new weights."
            )
        return super()._run_through_graph(*args, **kwargs)

    def _get_metrics_result_or_logs(self, logs: Any) -> Any:
        """Return an epoch's metrics, also for an epoch that is resumed after its last step."""
        return self.get_metrics_result()


def named_arguments(
    method: Callable[..., Any], model: keras.Model, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Return arguments of a method by name, given by name or by position."""
    given = signature(method).bind(model, *args, **kwargs).arguments
    return {**{name: value for name, value in list(given.items())[1:] if name != "kwargs"}, **given.get("kwargs", {})}


class AfterStep(NamedTuple):
    """Two functions, one of which each replica runs after a step.

    Args:
        due: whether `run` follows the step, a bool scalar evaluated before the step.
        run: the function if `due`.
        skip: the function otherwise.
    """

    due: Callable[[], tf.Tensor]
    run: Callable[[], None]
    skip: Callable[[], None]


def make_function(model: keras.Model, step: Callable[[Any], Any], after: AfterStep | None = None) -> Callable[[Any], Any]:
    """Return the function that Keras's loops call with an iterator.

    It runs `steps_per_execution` steps and returns the logs of the last. A step is traced once per element spec. It starts only
    once its batch is available, so that the end of the data changes no state.

    Args:
        model: the engine.
        step: a batch -> logs; run by each replica with its rows.
        after: functions after each step, or None.
    """
    strategy, steps = model.distribute_strategy, model.steps_per_execution

    def run(data: Any) -> Any:
        due = None if after is None else after.due()
        logs = strategy.run(_on_rows(step, data), args=(_without_optionals(data),))
        if after is not None:  # A condition around the replicas, not in them: replicas cannot synchronise in a condition.
            tf.cond(due, lambda: strategy.run(after.run), lambda: strategy.run(after.skip))
        return keras.tree.map_structure(lambda value: strategy.experimental_local_results(value)[0], logs)

    # A separate function only for XLA: replicas cannot synchronise in a function inside a condition.
    graph = partial(tf.function, reduce_retracing=True, autograph=False)
    single: Any = run if model.run_eagerly else graph(run, jit_compile=model.jit_compile)
    nested = single if model.jit_compile else run

    def execute(iterator: Any) -> tuple[Any, Any]:
        def take(done: Any, _: Any, logs: Any) -> tuple[Any, Any, Any]:
            batch = iterator.get_next_as_optional()
            has_batch = batch.has_value()
            return done + 1, has_batch, tf.cond(has_batch, lambda: nested(batch.get_value()), lambda: logs)

        logs = keras.tree.map_structure(tf.zeros_like, model.get_metrics_result())
        first = (tf.constant(0), tf.constant(True), logs)
        if steps == 1:
            _, has_batch, logs = take(*first)
            return has_batch, logs
        done, has_batch, logs = tf.while_loop(
            lambda done, has_batch, _: tf.logical_and(has_batch, done < steps), take, first, parallel_iterations=1
        )
        return tf.logical_or(has_batch, done > 1), logs

    in_graph = graph(execute)
    traced: list[Any] = []

    def function(iterator: Any) -> Any:
        if not model.run_eagerly and isinstance(iterator, (tf.data.Iterator, tf.distribute.DistributedIterator)):
            if steps > 1 or isinstance(iterator, tf.distribute.DistributedIterator):
                has_batch, logs = in_graph(iterator)
                if not has_batch:
                    raise StopIteration
                return logs
            if iterator.element_spec not in traced:
                traced.append(iterator.element_spec)
                single.get_concrete_function(iterator.element_spec)  # One trace for all lengths that the dataset may have.
        logs = None
        for data in itertools.islice(iterator, steps):
            logs = single(data)
        if logs is None:
            raise StopIteration
        return logs

    return function


def make_predict_function(model: keras.Model) -> Callable[[Any], Any]:
    """Return the function that Keras's `predict` calls with a list of batches: the outputs of all their rows, in order."""
    strategy = model.distribute_strategy

    def outputs_of(data: Any) -> Any:
        outputs = strategy.run(_on_rows(model.predict_step, data), args=(_without_optionals(data),))
        if several_processes(strategy):
            return keras.tree.map_structure(lambda value: strategy.gather(value, axis=0), outputs)
        return keras.tree.map_structure(lambda value: tf.concat(strategy.experimental_local_results(value), axis=0), outputs)

    def predict(batches: Any) -> Any:
        parts = [outputs_of(data) for data in batches]
        return keras.tree.map_structure(lambda *values: tf.concat(values, axis=0), *parts)

    return predict if model.run_eagerly else tf.function(predict, reduce_retracing=True, autograph=False)


def _on_rows(step: Callable[[Any], Any], data: Any) -> Callable[[Any], Any]:
    """Return a step on the replica's rows of a batch, unless the user has distributed the batch already."""
    distributed = any(isinstance(leaf, tf.distribute.DistributedValues) for leaf in keras.tree.flatten(data))
    return step if distributed else partial(on_rows_of_replica, step)


def _without_optionals(data: Any) -> Any:
    """Return a batch with None in place of empty optionals, by which Keras's datasets represent None."""
    return keras.tree.map_structure(lambda leaf: None if isinstance(leaf, tf.experimental.Optional) else leaf, data)
