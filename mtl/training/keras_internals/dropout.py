"""Dropout on several replicas.

It draws by a row's place in the batch: a replica's rows get the numbers that they would get on one device. TensorFlow's
generator makes a tensor's numbers in blocks that are numbered, so that a replica draws its own rows' blocks and no others.
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

#: The number of TensorFlow's usual generator on CPUs and GPUs.
_PHILOX = 1


def draw_by_place(model: keras.Model) -> None:
    """Make Keras's dropouts draw by a row's place in the batch, and replicas draw different random numbers for all else.

    All else is other layers, and tensors whose first axis is not the replica's rows. The generators' states stay equal.
    """
    draw_per_replica(model)
    for layer in layers_in(model):
        if type(layer).call in (keras.layers.Dropout.call, keras.layers.SpatialDropout1D.call):
            layer.call = partial(_dropout, layer)


def _dropout(layer: Any, inputs: Any, training: bool | None = False) -> Any:
    """`Dropout.call`, by a row's place."""
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
    """Return the rows of `tf.random.stateless_uniform` that begin with the row `first`, of a tensor of any number of rows.

    Args:
        first: the number of the first row.
        shape: of what is returned; sizes, or int32 scalars.
        dtype: a floating type.
        seed: integers `[2]`, as Keras's generators give them.

    Example:

    >>> drawn = tf.random.stateless_uniform([5, 3], tf.constant([7, 1]))
    >>> bool(tf.reduce_all(uniform_from(2, [3, 3], "float32", tf.constant([7, 1])) == drawn[2:]))
    True
    """
    seed = tf.cast(tf.math.floormod(seed, tf.cast(tf.int32.max - 1, seed.dtype)), tf.int32)  # As Keras casts it.
    block = 2 if tf.as_dtype(dtype) == tf.float64 else 4  # Numbers that the generator makes at once.
    fixed = math.prod(size for size in shape[1:] if isinstance(size, int))
    free = [tf.cast(size, tf.int64) for size in shape[1:] if not isinstance(size, int)]
    before = tf.cast(first, tf.int64) * math.prod(free, start=tf.constant(fixed, tf.int64))
    key, counter = tf.raw_ops.StatelessRandomGetKeyCounter(seed=seed)
    counter += tf.cast(tf.stack([before // block, 0]), tf.uint64)

    def drawn(shape: Any) -> tf.Tensor:
        return tf.raw_ops.StatelessRandomUniformV2(shape=shape, key=key, counter=counter, alg=_PHILOX, dtype=dtype)

    if fixed % block == 0:  # Rows begin with blocks.
        return drawn(tf.stack(shape))
    over = tf.cast(before % block, tf.int32)
    return tf.reshape(drawn([over + tf.reduce_prod(tf.stack(shape))])[over:], tf.stack(shape))
