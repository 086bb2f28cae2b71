"""Division of a batch over several replicas, and sums over the replicas.

A replica is a copy of the model on a device of its own, under a strategy of `tf.distribute`. All functions but `check_strategy`
are called by each replica, inside `strategy.run`; without a strategy there is one replica, and they return their argument.
"""

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

import keras
import tensorflow as tf

__all__ = [
    "agreed",
    "by_replica",
    "check_strategy",
    "on_rows_of_replica",
    "place_of_rows",
    "replicas",
    "rows_of_replica",
    "sum_before",
    "sum_gradients",
    "sum_over_replicas",
    "together",
]

_SUPPORTED = (
    tf.distribute.MirroredStrategy,
    tf.distribute.MultiWorkerMirroredStrategy,
    tf.distribute.OneDeviceStrategy,
    tf.distribute.TPUStrategy,
)

_place: ContextVar[tuple[tf.Tensor, tf.Tensor] | None] = ContextVar("place", default=None)


def check_strategy(strategy: Any) -> None:
    """Check that a strategy supports training.

    Args:
        strategy: a strategy of `tf.distribute`, or None where none is in use.

    Raises:
        ValueError: a strategy without replicas that train in step, or a distribution of `keras.distribution`.

    Example:

    >>> check_strategy(tf.distribute.OneDeviceStrategy("CPU:0"))
    """
    if keras.distribution.distribution() is not None:
        raise ValueError(
            "keras.distribution does nothing on TensorFlow: the model would train on one device. Take it back with "
            "keras.distribution.set_distribution(None), and make the model in the scope of a strategy of tf.distribute."
        )
    if strategy is not None and not isinstance(strategy, _SUPPORTED):
        raise ValueError(
            f"Models train under {', '.join(each.__name__ for each in _SUPPORTED)}; got {type(strategy).__name__}. "
            "Make the model in the scope of one of them."
        )


def agreed(strategy: Any, numbers: Sequence[int]) -> bool:
    """Return whether all processes of a strategy have the same numbers; called by all, outside of `strategy.run`."""
    if strategy.num_replicas_in_sync == 1 or strategy.num_replicas_in_sync == len(strategy.extended.worker_devices):
        return True

    @tf.function
    def sums() -> Any:
        def moments() -> Any:
            mine = tf.constant(numbers, tf.float64)
            return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tf.stack([mine, mine**2]))

        return strategy.run(moments)

    # They are equal if the mean of the squares is the square of the mean.
    total, squares = strategy.experimental_local_results(sums())[0].numpy()
    return bool((squares * strategy.num_replicas_in_sync == total**2).all())


def together(strategy: Any) -> None:
    """Wait until all processes of a strategy have called this function."""
    agreed(strategy, (0,))


def replicas() -> int:
    """Return the number of replicas in this step."""
    context = tf.distribute.get_replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def rows_of_replica(batch: Any) -> Any:
    """Return this replica's rows of a batch that all replicas hold: consecutive rows, whose numbers differ by at most 1.

    Every row belongs to exactly one replica, whatever the source of the batch, and a replica may get no rows.

    Args:
        batch: any structure of tensors whose first axis is rows; scalars and None are returned unchanged.
    """
    context = tf.distribute.get_replica_context()
    count = context.num_replicas_in_sync
    if count == 1:
        return batch

    def rows(value: Any) -> Any:
        if value is None:
            return None
        value = tf.convert_to_tensor(value)
        if value.shape.rank == 0:
            return value
        replica, size = context.replica_id_in_sync_group, value.shape[0]
        if size is not None and size % count == 0:  # The shape stays static.
            share = size // count
            return tf.slice(value, [replica * share, *[0] * (value.shape.rank - 1)], [share, *[-1] * (value.shape.rank - 1)])
        size = tf.shape(value)[0]
        return value[replica * size // count : (replica + 1) * size // count]

    return keras.tree.map_structure(rows, batch)


def on_rows_of_replica(step: Callable[[Any], Any], batch: Any) -> Any:
    """Return the result of a step for this replica's rows of a batch; inside, `place_of_rows` returns their place.

    Args:
        step: rows -> anything.
        batch: as for `rows_of_replica`.
    """
    rows = rows_of_replica(batch)
    sizes = [tf.shape(whole)[0] for whole in keras.tree.flatten(batch) if whole is not None and len(whole.shape)]
    context = tf.distribute.get_replica_context()
    count, replica, size = context.num_replicas_in_sync, context.replica_id_in_sync_group, sizes[0]
    first = replica * size // count
    token = _place.set(None if count == 1 else (first, (replica + 1) * size // count - first))
    try:
        return step(rows)
    finally:
        _place.reset(token)


def place_of_rows() -> tuple[tf.Tensor, tf.Tensor] | None:
    """Return the index of this replica's first row in the batch, and the number of its rows; None with a single replica."""
    return _place.get()


def sum_over_replicas(values: Sequence[Any]) -> list[tf.Tensor]:
    """Return the sums of the replicas' values, by one all-reduce.

    Args:
        values: float32 tensors of static shapes.
    """
    values = [tf.cast(value, tf.float32) for value in values]
    if replicas() == 1:
        return values
    sizes = [value.shape.num_elements() for value in values]
    flat = tf.concat([tf.reshape(value, [-1]) for value in values], axis=0)
    total = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, flat)
    return [tf.reshape(part, value.shape) for part, value in zip(tf.split(total, sizes), values, strict=True)]


def by_replica(value: tf.Tensor) -> tf.Tensor:
    """Return a replica's value at its index, `[replicas, ...]`, and zeros elsewhere: the sum holds each replica's value."""
    count = replicas()
    if count == 1:
        return value[None]
    place = tf.one_hot(tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int32), count)
    return tf.tensordot(place, value, axes=0)


def sum_before(values: tf.Tensor) -> tf.Tensor:
    """Return the sums of the values, float32 `[n]`, of the replicas before this one."""
    count = replicas()
    if count == 1:
        return tf.zeros_like(values)
    replica = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int32)
    (summands,) = sum_over_replicas([tf.one_hot(replica, count)[:, None] * values])
    return tf.reduce_sum(tf.where((tf.range(count) < replica)[:, None], summands, 0.0), axis=0)


def sum_gradients(gradients: Sequence[Any]) -> list[Any]:
    """Return the dense sums of the replicas' gradients; None for a variable without a gradient.

    Gradients of embeddings are `IndexedSlices` with one row per token of the batch. Keras's optimizers would compute squares and
    norms of the single rows of a token, not of their sum.
    """
    dense = [tf.convert_to_tensor(gradient) for gradient in gradients if gradient is not None]
    if replicas() > 1 and dense:
        dense = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, dense)
    total = iter(dense)
    return [None if gradient is None else next(total) for gradient in gradients]
