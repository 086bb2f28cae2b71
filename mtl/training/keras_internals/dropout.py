"""Dropout on several replicas.

Random numbers depend on a row's place in the batch: a replica's rows get the numbers that they would get on one device.
TensorFlow's generator creates a tensor's numbers in numbered blocks, so a replica draws only the blocks of its rows.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from mtl.training.keras_internals.layers import draw_per_replica, layers_in, seed_offset
from mtl.training.replicas import place_of_rows

__all__ = ["draw_by_place", "uniform_from"]

#: Identifier of TensorFlow's default generator on CPUs and GPUs.
_PHILOX = 1


def draw_by_place(model: keras.Model) -> None:
    """Let Keras's dropout layers draw by a row's place in the batch, and all others draw different numbers on each replica.

    The others are other layers, and tensors whose first axis is not the replica's rows. The generators' states stay equal.
    """
    draw_per_replica(model)
    for layer in layers_in(model):
        if type(layer).call in (keras.layers.Dropout.call, keras.layers.SpatialDropout1D.call):
            layer.call = partial(_dropout, layer)


def _dropout(layer: Any, inputs: Any, training: bool | None = False) -> Any:
    """Apply dropout as `Dropout.call` does, with random numbers by a row's place."""
    place = place_of_rows()
    if place is None or not training or not 0 < layer.rate < 1:
        return type(layer).call(layer, inputs, training=training)
    (first, rows), sizes = place, tf.shape(inputs)
    whole = tf.equal(sizes[0], rows)
    mine = layer.seed_generator.next()
    seed = tf.where(whole, mine - seed_offset(mine.dtype), mine)
    given = layer._get_noise_shape(inputs) if hasattr(layer, "_get_noise_shape") else layer.noise_shape
    noise = [size if size is not None else sizes[i] for i, size in enumerate(given or inputs.shape)]
    alike = layer.noise_shape is not None and layer.noise_shape[0] == 1  # The same numbers for all rows.
    start = 0 if alike else tf.where(whole, first, 0)

    def sampler(shape: Any, dtype: Any) -> tf.Tensor:
        return uniform_from(start, noise, dtype, seed)

    return tf.nn.experimental.general_dropout(inputs, layer.rate, sampler, tf.stack(noise))


def uniform_from(first: Any, shape: Sequence[Any], dtype: Any, seed: Any) -> tf.Tensor:
    """Return rows of `tf.random.stateless_uniform`, starting with the row `first`, for a tensor of any number of rows.

    Args:
        first: index of the first row.
        shape: shape of the result, as sizes or int32 scalars.
        dtype: a floating-point dtype.
        seed: integers `[2]`, as Keras's generators return them.

    Example:

    >>> drawn = tf.random.stateless_uniform([5, 3], tf.constant([7, 1]))
    >>> bool(tf.reduce_all(uniform_from(2, [3, 3], "float32", tf.constant([7, 1])) == drawn[2:]))
    True
    """
    seed = tf.cast(tf.math.floormod(seed, tf.cast(tf.int32.max - 1, seed.dtype)), tf.int32)  # As Keras casts it.
    block = 2 if tf.as_dtype(dtype) == tf.float64 else 4  # Numbers per block of the generator.
    fixed = math.prod(size for size in shape[1:] if isinstance(size, int))
    free = [tf.cast(size, tf.int64) for size in shape[1:] if not isinstance(size, int)]
    before = tf.cast(first, tf.int64) * math.prod(free, start=tf.constant(fixed, tf.int64))
    key, counter = tf.raw_ops.StatelessRandomGetKeyCounter(seed=seed)
    counter += tf.cast(tf.stack([before // block, 0]), tf.uint64)

    def drawn(shape: Any) -> tf.Tensor:
        return tf.raw_ops.StatelessRandomUniformV2(shape=shape, key=key, counter=counter, alg=_PHILOX, dtype=dtype)

    if fixed % block == 0:  # Each row starts a block.
        return drawn(tf.stack(shape))
    over = tf.cast(before % block, tf.int32)
    return tf.reshape(drawn([over + tf.reduce_prod(tf.stack(shape))])[over:], tf.stack(shape))
