"""A weighted mean of an encoder's states."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

__all__ = ["ScalarMix"]


@keras.saving.register_keras_serializable("mtl")
class ScalarMix(keras.layers.Layer):
    """A learned mean of an encoder's states, `h = gamma * sum_j softmax(s)_j h_j`.

    Initially all states have equal weights, `s = 0`, and `gamma = 1`.

    Returns:
        `[B, S, H]`, from a list of L tensors `[B, S, H]`.

    Example:

    >>> import numpy as np
    >>> states = [np.full([1, 1, 2], value, "float32") for value in (1.0, 3.0)]
    >>> ScalarMix()(states).numpy().tolist()
    [[[2.0, 2.0]]]

    Reference:
        Peters et al., "Deep Contextualized Word Representations", NAACL 2018, equation 1.
    """

    def build(self, input_shape: Sequence[tuple]) -> None:
        if len(input_shape) < 2:
            raise ValueError(
                f"ScalarMix expects at least 2 states as wide as the encoder's features; got {len(input_shape)}. "
                "Read the last state, or choose an encoder of more blocks."
            )
        self.scores = self.add_weight(name="scores", shape=(len(input_shape),), initializer="zeros", dtype="float32")
        self.gamma = self.add_weight(name="gamma", shape=(), initializer="ones", dtype="float32")

    def call(self, inputs: Sequence[Any]) -> Any:
        shares = self.gamma * ops.softmax(self.scores)
        return sum(ops.cast(share, state.dtype) * state for share, state in zip(ops.unstack(shares), inputs, strict=True))

    def compute_output_shape(self, input_shape: Sequence[tuple]) -> tuple:
        return tuple(input_shape[0])
