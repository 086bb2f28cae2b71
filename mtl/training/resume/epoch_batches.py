"""Training data that can start at any step of any epoch."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

__all__ = ["EpochBatches", "epoch_batches"]


class EpochBatches:
    """Batches of each epoch, in an order that depends only on the number of the epoch.

    Args:
        at: an epoch and a step -> the batches of the epoch from that step on, a `tf.data.Dataset`.
        steps: batches per epoch; None if unknown.
        made_of: description of the data.
    """

    def __init__(self, at: Callable[[int, int], tf.data.Dataset], steps: int | None, made_of: str = ""):
        self.at, self.steps = at, steps
        self.made_of = f"{'an unknown number of' if steps is None else steps} batches in an epoch{made_of and ', '}{made_of}"


def epoch_batches(
    data: tuple[Any, ...],
    *,
    unrepeatable: Callable[[tf.data.Dataset], bool] = lambda dataset: False,
    batch_size: int | None = None,
    shuffle: bool = True,
    seed: int = 0,
) -> EpochBatches:
    """Return the data of `fit` as epochs.

    Args:
        data: a dataset of `mtl.data.mix`, a `tf.data.Dataset`, or arrays; with targets and sample weights, or None for them.
        unrepeatable: function that returns whether the order of a dataset changes from pass to pass.
        batch_size: rows per batch of arrays; 32 by default.
        shuffle: whether arrays are shuffled.
        seed: seed of their order.

    Raises:
        ValueError: data whose order another process cannot repeat.

    Example:

    >>> epochs = epoch_batches((np.arange(5), None, None), batch_size=2, shuffle=False)
    >>> epochs.steps, [batch[0].tolist() for batch in epochs.at(0, 1).as_numpy_iterator()]
    (3, [[2, 3], [4]])
    """
    x = data[0]
    if mixture := getattr(x, "mixture", None):
        return EpochBatches(mixture.at, mixture.steps_per_epoch, mixture.made_of)
    if isinstance(x, tf.data.Dataset):
        if unrepeatable(x):
            raise ValueError(
                "The dataset is shuffled in an order that no other process repeats, so that training cannot go on exactly. "
                "Give mtl.data.mix(...) as it comes, or arrays, or shuffle with a seed and reshuffle_each_iteration=False; "
                "of mtl.transfer.extract, give what it makes with shuffle=False."
            )
        steps = int(x.cardinality())
        if steps == tf.data.INFINITE_CARDINALITY:
            raise ValueError("Training that can go on expects the data of one epoch; got an endless dataset. Use .take(STEPS).")
        return EpochBatches(lambda epoch, step: x.skip(step), steps if steps >= 0 else None)
    leaves = [leaf for leaf in keras.tree.flatten(data) if leaf is not None]
    if not leaves or not all(hasattr(leaf, "shape") and len(leaf.shape) > 0 for leaf in leaves):
        raise ValueError(
            f"Training that can go on expects mtl.data.mix(...), a tf.data.Dataset or arrays; got {type(x).__name__}, "
            "which cannot begin at a step. Make a dataset of it, or leave the Checkpoint out."
        )
    return _of_arrays(data, batch_size or 32, shuffle, seed)


def _of_arrays(data: tuple[Any, ...], batch_size: int, shuffle: bool, seed: int) -> EpochBatches:
    with tf.device("CPU"):
        tensors = keras.tree.map_structure(_tensor, tuple(_without_none(part) for part in data if part is not None))
    sizes = {int(tensor.shape[0]) for tensor in keras.tree.flatten(tensors)}
    if len(sizes) > 1:
        raise ValueError(f"Inputs, targets and sample weights have one row for each example; got {sorted(sizes)} rows.")
    (rows,) = sizes

    def at(epoch: int, step: int) -> tf.data.Dataset:
        order = np.random.default_rng([seed, epoch]).permutation(rows) if shuffle else np.arange(rows)
        chosen = tf.data.Dataset.from_tensor_slices(order[step * batch_size :]).batch(batch_size)
        return chosen.map(lambda rows: keras.tree.map_structure(lambda tensor: tf.gather(tensor, rows), tensors)).prefetch(2)

    order = f"shuffled with the seed {seed}" if shuffle else "in order"
    return EpochBatches(at, math.ceil(rows / batch_size), f"of {rows} rows, {batch_size} in a batch, {order}")


def _without_none(part: Any) -> Any:
    return {name: value for name, value in part.items() if value is not None} if isinstance(part, Mapping) else part


def _tensor(value: Any) -> tf.Tensor:
    """Return the tensor of an array, as Keras converts it: floats in the default dtype."""
    array = np.asarray(value)
    return tf.convert_to_tensor(array, keras.config.floatx() if array.dtype.kind == "f" else None)
