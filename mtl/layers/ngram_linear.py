"""A linear model of a text's n-grams."""

from typing import Any

import keras
import tensorflow as tf

from mtl.utils.arguments import checked
from mtl.utils.types import Count, Rate

__all__ = ["NGramLinear"]

_PRIME, _FACTOR = 2**31 - 1, 1_103_515_245

#: Factor of the output. Adam's steps have the size of the learning rate; with this factor, rates for recurrent layers, about
#: 0.003, are large enough for weights of n-grams that occur rarely.
_SCALE = 5.0


@keras.saving.register_keras_serializable("mtl")
class NGramLinear(keras.layers.Layer):
    """Linear model of all n-grams of 1 to `order` tokens, which adds the evidence of single phrases to a network's output.

    `y = 5 / sqrt(n) sum_g W[hash(g)]` over the row's `n` n-grams `g`, in float32. `W` starts at zero, so that n-grams
    that never occurred in training contribute nothing. Dropout drops n-grams, so that weights of phrases do not co-adapt.

    Args:
        units: the number of outputs.
        order: the length of the longest n-grams, in tokens.
        buckets: rows of `W`; n-grams share them by a hash.
        dropout: the share of n-grams dropped in training.

    Returns:
        float32 `[B, units]`, from `token_ids [B, S]` and `padding_mask [B, S]`.

    Raises:
        ValueError: an order or a number of buckets below 1.

    Example:

    >>> import numpy as np
    >>> NGramLinear(2, order=3, buckets=1000)(np.array([[5, 6, 7, 0]]), np.array([[1, 1, 1, 0]])).shape
    TensorShape([1, 2])

    Reference:
        A linear model beside a deep one: Cheng et al., "Wide & Deep Learning for Recommender Systems", DLRS 2016. The hash:
        Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", ICML 2009.
    """

    @checked
    def __init__(self, units: Count, order: int = 3, buckets: int = 2**22, dropout: Rate = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        if order < 1 or buckets < 1:
            raise ValueError(f"N-grams have at least 1 token and 1 bucket; got order={order} and buckets={buckets}.")
        self.units, self.order, self.buckets, self.dropout = units, order, buckets, dropout
        self.drop = keras.layers.Dropout(dropout, dtype="float32", name="dropout")
        self.table = keras.layers.Embedding(buckets, units, "zeros", dtype="float32", name="table")

    def build(self, *_: Any) -> None:
        self.table.build(None)

    def call(self, token_ids: Any, padding_mask: Any, training: bool | None = None) -> Any:
        ids, mask = tf.cast(token_ids, tf.int64) + 1, tf.cast(padding_mask, tf.float32)
        hashes, length = tf.zeros_like(ids), tf.shape(ids)[1]
        ids, mask = (tf.pad(each, [[0, 0], [0, self.order - 1]]) for each in (ids, mask))
        total, count = 0.0, 0.0
        for n in range(self.order):
            # The n-gram that begins at each token is complete if its last token is not padding.
            later, whole = ids[:, n : n + length], mask[:, n : n + length]
            hashes = (hashes * _FACTOR + later + n) % _PRIME
            kept = self.drop(whole, training=training)
            total += tf.reduce_sum(self.table(hashes % self.buckets) * kept[:, :, None], axis=1)
            count += tf.reduce_sum(whole, axis=1, keepdims=True)
        return _SCALE * total / tf.sqrt(tf.maximum(count, 1.0))

    def compute_output_spec(self, token_ids: Any, padding_mask: Any, training: bool | None = None) -> keras.KerasTensor:
        return keras.KerasTensor((token_ids.shape[0], self.units), "float32")

    def get_config(self) -> dict[str, Any]:
        mine = {"units": self.units, "order": self.order, "buckets": self.buckets, "dropout": self.dropout}
        return {**super().get_config(), **mine}
