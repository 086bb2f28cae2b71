"""Data adapters of Keras for `fit`, `evaluate` and `predict`, whose batches no strategy splits."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from types import GeneratorType
from typing import Any

import keras
import tensorflow as tf
from keras.src.trainers.data_adapters import array_slicing, get_data_adapter
from keras.src.trainers.data_adapters.data_adapter import DataAdapter

from mtl.training.resume.epoch_batches import EpochBatches
from mtl.utils import brief, unknown_name
from mtl.utils.texts import refuse_texts

__all__ = ["ResumableAdapter", "split_validation", "unrepeatable", "whole_batches"]


class _WholeDataset(tf.distribute.DistributedDataset):
    """A dataset that Keras does not distribute: each replica takes its rows of a batch in the step.

    Autotuning is off unless the dataset's options enable it: its thread can miss the end of an iterator, which then waits for
    the thread's next round, as long as the epoch took, up to a minute. Without it, `AUTOTUNE` means one thread per core.
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
    """Adapter for the `x` of `fit`, whose first epoch starts at a step.

    Args:
        epochs: the batches of each epoch.
        epoch, step: the start.
    """

    batch_size = has_partial_batch = partial_batch_size = None

    num_batches = property(attrgetter("_epochs.steps"))

    def __init__(self, epochs: EpochBatches, epoch: int, step: int):
        self._epochs, self._epoch, self._step = epochs, epoch, step

    def get_tf_dataset(self) -> Any:
        return _WholeDataset(self._epochs.at(self._epoch, self._step))

    def steps(self, together: int) -> Iterator[tuple[int, int, Any]]:
        """Yield the next epoch's steps, `together` at a time: the first, the last, and the iterator over their batches."""
        batches, step, count = iter(self.get_tf_dataset()), self._step, self._epochs.steps
        self._epoch, self._step = self._epoch + 1, 0
        for first in itertools.count(step, together) if count is None else range(step, count, together):
            yield first, first + together - 1, batches


class _WholeBatches(DataAdapter):
    """Adapter of Keras's whose dataset no strategy splits."""

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
    """Return an adapter for the `x` of `fit`, `evaluate` and `predict` whose batches no strategy splits.

    Args:
        x, y, sample_weight: arrays, or a dataset as `x`. Weights by task may be of some of the tasks in `y`.
        **options: `batch_size`, `steps_per_epoch` and `shuffle`, as in `fit`.

    Raises:
        TypeError: a generator's first batch holds texts.
        ValueError: there is no data, it is not in arrays, or weights are of a task that has no targets.
    """
    if x is None:
        raise ValueError(
            "The model expects token ids, or batches of them; got none. Use mtl.data.mix to make batches of texts and labels."
        )
    if isinstance(x, GeneratorType):
        first = next(x, None)
        refuse_texts(*keras.utils.unpack_x_y_sample_weight(first)[:2])
        x = _begun(first, x)
    if isinstance(y, Mapping) and isinstance(sample_weight, Mapping):  # Keras requires the same entries in both.
        for task in sample_weight:
            if task not in y:
                raise unknown_name("task with targets", task, y)
        sample_weight = {task: sample_weight.get(task) for task in y}
    if isinstance(x, ResumableAdapter):
        return x
    try:
        adapter = get_data_adapter(x, y, sample_weight, **options)
    except ValueError as error:
        if not str(error).startswith("Unrecognized data type"):
            raise
        raise ValueError(
            f"The model expects arrays, or a dataset of batches; got {brief(x, 80)}. Give np.array(...), with rows of one length."
        ) from error
    return _WholeBatches(adapter)


def _begun(first: Any, others: Iterator[Any]) -> Iterator[Any]:
    """Yield a first batch and the others; nothing if the first is None."""
    if first is not None:
        yield first
        yield from others


def unrepeatable(dataset: tf.data.Dataset) -> bool:
    """Return whether a dataset is shuffled in an order that differs between epochs or processes."""
    mixture = getattr(dataset, "mixture", None)  # A dataset derived from a mixture's starts with the mixture's next epoch.
    reshuffled = getattr(dataset, "_reshuffle_each_iteration", False) is not False or getattr(mixture, "shuffle", False)
    reshuffled |= getattr(dataset, "shuffled_anew", False)  # Set by `mtl.transfer.extract`.
    seeds = [int(getattr(dataset, name)) for name in ("_seed", "_seed2") if hasattr(dataset, name)]
    return reshuffled or (bool(seeds) and not any(seeds)) or any(map(unrepeatable, dataset._inputs()))


def split_validation(arrays: tuple[Any, ...], share: float) -> tuple[Any, Any]:
    """Return arrays without their last rows, and these rows, as Keras's `validation_split` divides them."""
    return array_slicing.train_validation_split(arrays, validation_split=share)
