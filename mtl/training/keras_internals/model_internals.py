"""The seam between the engine and Keras: every private name of Keras and TensorFlow that the engine touches stands
here, those of optimizers in `optimizer_seam`, and what Keras's callbacks remember in `state`.

Keras's `fit`, callbacks and logs stay; the step under them is the engine's. Each replica gets the whole batch and takes its rows
of it, gradients are summed once, and from then on every replica does the same arithmetic on its own copy of the variables.
"""

import itertools
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from inspect import signature
from operator import attrgetter
from typing import Any, NamedTuple

import keras
import tensorflow as tf
from keras.src.backend.common.global_state import set_global_attribute
from keras.src.saving.saving_lib import get_attr_skipset
from keras.src.trainers.data_adapters import array_slicing, get_data_adapter
from keras.src.trainers.data_adapters.data_adapter import DataAdapter
from tensorflow.python.eager.context import context_safe, global_seed

from mtl.training.keras_internals.optimizer_internals import optimizers_in
from mtl.training.replicas import rows_of_replica
from mtl.training.resume.epoch_batches import EpochBatches

__all__ = [
    "Built",
    "Every",
    "ResumableAdapter",
    "agree_on_shuffling",
    "check_scope",
    "differ_in_dropout",
    "equal_draws",
    "given_to",
    "layers_in",
    "layers_with_losses",
    "make_function",
    "make_predict_function",
    "prepare_saving",
    "several_processes",
    "split_validation",
    "strategy_of",
    "tensorflow_in_use",
    "unrepeatable",
    "whole_batches",
]

#: Far between the replicas' seeds, so that no two generators of a model draw alike.
_SEED_STEP = 1_000_003


class Built(keras.Model):
    """A model that is built in its constructor."""

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Builds nothing: Keras's own takes a batch out of the data, and fails on one that the replicas cannot share evenly."""
        check_scope(self)
        if isinstance(data := getattr(iterator, "data_adapter", None), ResumableAdapter):
            iterator._enumerate_iterator = partial(data.steps, iterator.steps_per_execution)

    def _get_metrics_result_or_logs(self, logs: Any) -> Any:
        """An epoch's figures, also where it goes on from a place behind its last step."""
        return self.get_metrics_result()


# Strategies ---------------------------------------------------------------------------------------------------------------


def strategy_of(model: keras.Model) -> Any:
    """The strategy in whose scope the model was made; None outside of any."""
    return model._distribute_strategy


def layers_in(model: keras.Model) -> list[keras.layers.Layer]:
    """The model, and all layers inside it."""
    return list(model._flatten_layers())


def layers_with_losses(model: keras.Model) -> list[str]:
    """The names of the layers that added a loss of their own when they were last called."""
    return [layer.name for layer in layers_in(model) if layer._losses]


def several_processes(strategy: Any) -> bool:
    """Whether some replicas of a strategy run in other processes."""
    return strategy is not None and strategy.num_replicas_in_sync > len(strategy.extended.worker_devices)


def check_scope(model: keras.Model) -> None:
    """Refuses to train variables that are not the strategy's.

    Raises:
        ValueError: the model was made outside the scope that it is used in, or its optimizer outside the model's.
    """
    strategy = strategy_of(model)
    if tf.distribute.has_strategy() and strategy is not tf.distribute.get_strategy():
        raise ValueError(
            "The model was made outside the scope of this strategy, so its variables are on one device. "
            "Make the encoder, the tasks and the model inside `with strategy.scope():`."
        )
    if strategy is not None and model.optimizer is not None:
        for optimizer in optimizers_in(model.optimizer):
            if optimizer._distribution_strategy is not strategy:
                raise ValueError(
                    f"The optimizer '{optimizer.name}' was made outside the scope of the model's strategy. "
                    "Make it inside `with strategy.scope():`, or give compile its name."
                )


def prepare_saving() -> None:
    """Has every process make what Keras makes whenever it saves an optimizer: another one, to compare it with.

    Its variables are sent to all processes, which would not be there where the chief alone saves. Keras keeps what it learns from
    it, but looks for it under another name.
    """
    set_global_attribute("saving_attr_skiplist_Optimizer", get_attr_skipset("Optimizer"))


def tensorflow_in_use() -> bool:
    """Whether TensorFlow has made its threads in this process, or in the one that it was forked off."""
    return getattr(context_safe(), "_initialized", False)


# Random numbers -----------------------------------------------------------------------------------------------------------


def differ_in_dropout(model: keras.Model) -> None:
    """Has each replica draw its own random numbers. The generators' states stay equal, and the first draws as one alone."""
    for layer in layers_in(model):
        for generator in layer._seed_generators:
            generator.next = _next_here.__get__(generator)


def _next_here(generator: Any, ordered: bool = True) -> Any:
    seed = type(generator).next(generator, ordered)
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return seed
    return seed + tf.cast(context.replica_id_in_sync_group, seed.dtype) * tf.constant([_SEED_STEP, 0], seed.dtype)


@contextmanager
def equal_draws(model: keras.Model, times: int) -> Iterator[None]:
    """Random numbers are drawn within, some inside conditions and loops that replicas run more or less often: behind it the
    generators' states are what they would be had every branch been run so many times, so that they stay equal."""
    generators = list({id(each): each for layer in layers_in(model) for each in layer._seed_generators}.values())
    before, own = [tf.identity(each.state.value) for each in generators], [vars(each).get("next") for each in generators]
    drawn = [0] * len(generators)

    def counted(place: int, draw: Callable[..., Any]) -> Callable[..., Any]:
        def following(*args: Any, **kwargs: Any) -> Any:
            drawn[place] += 1
            return draw(*args, **kwargs)

        return following

    for place, each in enumerate(generators):
        each.next = counted(place, each.next)
    try:
        yield
    finally:
        for each, mine in zip(generators, own, strict=True):
            if mine is None:
                del each.next
            else:
                each.next = mine
    for each, state, count in zip(generators, before, drawn, strict=True):
        each.state.assign(state + tf.constant([0, times * count], state.dtype))


def agree_on_shuffling(strategy: Any) -> None:
    """Gives all processes one seed, where none was set, so that they shuffle arrays alike."""
    if global_seed() is not None:
        return
    drawn = random.getrandbits(30)

    def first() -> Any:
        context = tf.distribute.get_replica_context()
        mine = tf.where(tf.equal(context.replica_id_in_sync_group, 0), drawn, 0)
        return context.all_reduce(tf.distribute.ReduceOp.SUM, mine)

    tf.random.set_seed(int(strategy.experimental_local_results(strategy.run(first))[0]))


# Data ---------------------------------------------------------------------------------------------------------------------


class _WholeDataset(tf.distribute.DistributedDataset):
    """A dataset that Keras leaves as it is: each replica takes its rows of a batch in the step.

    It does not tune itself, unless its options ask for that: the thread that does can miss the end of an iterator, which then
    waits for the thread's next round, for as long as the pass has taken, up to a minute. What is left to be tuned has a thread
    for each core.
    """

    def __init__(self, dataset: tf.data.Dataset):
        options = tf.data.Options()
        if dataset.options().autotune.enabled is None:
            options.autotune.enabled = False
        self._dataset = dataset.with_options(options)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._dataset)

    @property
    def element_spec(self) -> Any:
        return self._dataset.element_spec

    def reduce(self, initial_state: Any, reduce_func: Callable[[Any, Any], Any]) -> Any:
        return self._dataset.reduce(initial_state, reduce_func)


class ResumableAdapter(DataAdapter):
    """What `fit` takes as `x` where its first epoch begins at a step.

    Args:
        epochs: the batches of each epoch.
        epoch, step: where to begin.
    """

    batch_size = has_partial_batch = partial_batch_size = None

    num_batches = property(attrgetter("_epochs.steps"))

    def __init__(self, epochs: EpochBatches, epoch: int, step: int):
        self._epochs, self._epoch, self._step = epochs, epoch, step

    def get_tf_dataset(self) -> Any:
        return _WholeDataset(self._epochs.at(self._epoch, self._step))

    def steps(self, together: int) -> Iterator[tuple[int, int, Any]]:
        """The next epoch's steps, so many at a time: the first, the last, and the iterator that has their batches."""
        batches, step, count = iter(self.get_tf_dataset()), self._step, self._epochs.steps
        self._epoch, self._step = self._epoch + 1, 0
        for first in itertools.count(step, together) if count is None else range(step, count, together):
            yield first, first + together - 1, batches


class _WholeBatches(DataAdapter):
    """One of Keras's adapters, whose dataset stays whole."""

    def __init__(self, adapter: DataAdapter):
        self._adapter = adapter

    def get_tf_dataset(self) -> Any:
        dataset = self._adapter.get_tf_dataset()
        return _WholeDataset(dataset) if isinstance(dataset, tf.data.Dataset) else dataset

    num_batches = property(attrgetter("_adapter.num_batches"))
    batch_size = property(attrgetter("_adapter.batch_size"))
    has_partial_batch = property(attrgetter("_adapter.has_partial_batch"))
    partial_batch_size = property(attrgetter("_adapter.partial_batch_size"))

    def on_epoch_begin(self) -> None:
        self._adapter.on_epoch_begin()

    def on_epoch_end(self) -> None:
        self._adapter.on_epoch_end()


def whole_batches(x: Any, y: Any = None, sample_weight: Any = None, **options: Any) -> DataAdapter:
    """What `fit`, `evaluate` and `predict` take as `x` where batches are to stay whole.

    Args:
        x, y, sample_weight: arrays, or a dataset as `x`.
        **options: `batch_size`, `steps_per_epoch`, `shuffle` and `class_weight`, as in `fit`.
    """
    return x if isinstance(x, ResumableAdapter) else _WholeBatches(get_data_adapter(x, y, sample_weight, **options))


def unrepeatable(dataset: tf.data.Dataset) -> bool:
    """Whether a dataset is shuffled in an order that another pass, or another process, does not repeat."""
    mixture = getattr(dataset, "mixture", None)  # What is made of a mixture's dataset begins with the mixture's next epoch.
    anew = getattr(dataset, "_reshuffle_each_iteration", False) is not False or getattr(mixture, "shuffle", False)
    anew |= getattr(dataset, "shuffled_anew", False)  # By `mtl.transfer.extract`.
    seeds = [int(getattr(dataset, name)) for name in ("_seed", "_seed2") if hasattr(dataset, name)]
    return anew or (bool(seeds) and not any(seeds)) or any(map(unrepeatable, dataset._inputs()))


def split_validation(arrays: tuple[Any, ...], share: float) -> tuple[Any, Any]:
    """Arrays without their last part, and that part, as Keras's `validation_split` parts them."""
    return array_slicing.train_validation_split(arrays, validation_split=share)


def given_to(method: Callable[..., Any], model: keras.Model, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by name, whether they were given by name or by place."""
    given = signature(method).bind(model, *args, **kwargs).arguments
    return {**{name: value for name, value in list(given.items())[1:] if name != "kwargs"}, **given.get("kwargs", {})}


# Functions ----------------------------------------------------------------------------------------------------------------


class Every(NamedTuple):
    """What follows a step in some of the calls, on each replica.

    Args:
        due: whether it is one of them, asked before the step.
        then: what follows it.
        otherwise: what follows in the others.
    """

    due: Callable[[], tf.Tensor]
    then: Callable[[], None]
    otherwise: Callable[[], None]


def make_function(model: keras.Model, step: Callable[[Any], Any], after: Every | None = None) -> Callable[[Any], Any]:
    """The function that Keras's loops call with an iterator: `steps_per_execution` steps, and the last one's logs.

    A step is traced once for each kind of batch. It does not begin before its batch is there, so that the end of the data changes
    nothing.

    Args:
        model: the engine.
        step: a batch -> logs; run by each replica with its rows.
        after: what follows it.
    """
    strategy, steps = model.distribute_strategy, model.steps_per_execution

    def run(data: Any) -> Any:
        due = None if after is None else after.due()
        logs = strategy.run(_on_rows(step, data), args=(_without_optionals(data),))
        if after is not None:  # A condition around the replicas, not in them: there they may not meet.
            tf.cond(due, lambda: strategy.run(after.then), lambda: strategy.run(after.otherwise))
        return keras.tree.map_structure(lambda value: strategy.experimental_local_results(value)[0], logs)

    # Not inside the other function unless XLA asks for it: replicas cannot meet in a function inside a condition.
    graph = partial(tf.function, reduce_retracing=True, autograph=False)
    alone: Any = run if model.run_eagerly else graph(run, jit_compile=model.jit_compile)
    inside = alone if model.jit_compile else run

    def execute(iterator: Any) -> tuple[Any, Any]:
        def take(done: Any, _: Any, logs: Any) -> tuple[Any, Any, Any]:
            batch = iterator.get_next_as_optional()
            found = batch.has_value()
            return done + 1, found, tf.cond(found, lambda: inside(batch.get_value()), lambda: logs)

        logs = keras.tree.map_structure(tf.zeros_like, model.get_metrics_result())
        first = (tf.constant(0), tf.constant(True), logs)
        if steps == 1:
            _, found, logs = take(*first)
            return found, logs
        done, found, logs = tf.while_loop(
            lambda done, found, _: tf.logical_and(found, done < steps), take, first, parallel_iterations=1
        )
        return tf.logical_or(found, done > 1), logs

    in_graph = graph(execute)
    traced: list[Any] = []

    def function(iterator: Any) -> Any:
        if not model.run_eagerly and isinstance(iterator, (tf.data.Iterator, tf.distribute.DistributedIterator)):
            if steps > 1 or isinstance(iterator, tf.distribute.DistributedIterator):
                found, logs = in_graph(iterator)
                if not found:
                    raise StopIteration
                return logs
            if iterator.element_spec not in traced:
                traced.append(iterator.element_spec)
                alone.get_concrete_function(iterator.element_spec)  # One trace for all lengths that the dataset may give.
        logs = None
        for data in itertools.islice(iterator, steps):
            logs = alone(data)
        if logs is None:
            raise StopIteration
        return logs

    return function


def make_predict_function(model: keras.Model) -> Callable[[Any], Any]:
    """The function that Keras's `predict` calls with a list of batches: the outputs of all their rows, in order."""
    strategy = model.distribute_strategy

    def one(data: Any) -> Any:
        outputs = strategy.run(_on_rows(model.predict_step, data), args=(_without_optionals(data),))
        if several_processes(strategy):
            return keras.tree.map_structure(lambda value: strategy.gather(value, axis=0), outputs)
        return keras.tree.map_structure(lambda value: tf.concat(strategy.experimental_local_results(value), axis=0), outputs)

    def predict(batches: Any) -> Any:
        parts = [one(data) for data in batches]
        return keras.tree.map_structure(lambda *values: tf.concat(values, axis=0), *parts)

    return predict if model.run_eagerly else tf.function(predict, reduce_retracing=True, autograph=False)


def _on_rows(step: Callable[[Any], Any], data: Any) -> Callable[[Any], Any]:
    """A step that takes the replica's rows of a batch, unless it came in parts, from a dataset that the user distributed."""
    parts = any(isinstance(leaf, tf.distribute.DistributedValues) for leaf in keras.tree.flatten(data))
    return step if parts else lambda each: step(rows_of_replica(each))


def _without_optionals(data: Any) -> Any:
    """A batch with None where Keras's arrays had None, which its datasets hold as empty optionals."""
    return keras.tree.map_structure(lambda leaf: None if isinstance(leaf, tf.experimental.Optional) else leaf, data)
