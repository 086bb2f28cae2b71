"""Pooling of a sequence of vectors to one vector."""

from typing import Any

import keras
from keras import ops

from mtl.utils import unknown_name
from mtl.utils.arguments import checked

__all__ = ["Pooling"]

MODES = ("cls", "mean", "max", "attention")


@keras.saving.register_keras_serializable("mtl")
class Pooling(keras.layers.Layer):
    """Pooling of each row's tokens, without padding.

    `cls` takes the first token, `mean` and `max` are over tokens, `attention` is a learned weighted mean,
    `a = softmax(v . tanh(W h))`. A row without tokens pools to zeros (`cls`: to its first vector).

    Args:
        mode: `"cls"`, `"mean"`, `"max"` or `"attention"`.

    Returns:
        `[B, H]`, from `[B, S, H]` and `padding_mask [B, S]`.

    Raises:
        ValueError: an unknown mode.

    Example:

    >>> import numpy as np
    >>> x = np.array([[[1.0], [3.0], [9.0]]], "float32")
    >>> float(Pooling("mean")(x, padding_mask=np.array([[1, 1, 0]]))[0, 0])
    2.0

    Reference:
        `attention`: Yang et al., "Hierarchical Attention Networks for Document Classification", NAACL 2016.
    """

    @checked
    def __init__(self, mode: str = "mean", **kwargs: Any):
        super().__init__(**kwargs)
        if mode not in MODES:
            raise unknown_name("pooling", mode, MODES)
        self.mode = mode
        self.supports_masking = True

    def build(self, sequence_shape: tuple) -> None:
        if self.mode == "attention":
            width = sequence_shape[-1]
            self.kernel = self.add_weight(name="kernel", shape=(width, width), initializer="glorot_uniform")
            self.bias = self.add_weight(name="bias", shape=(width,), initializer="zeros")
            self.context = self.add_weight(name="context", shape=(width, 1), initializer="glorot_uniform")

    def call(self, sequence: Any, padding_mask: Any) -> Any:
        if self.mode == "cls":
            return sequence[:, 0]
        mask = ops.expand_dims(ops.cast(padding_mask, sequence.dtype), -1)
        if self.mode == "mean":
            count = ops.maximum(ops.sum(mask, axis=1), ops.cast(1, sequence.dtype))
            return ops.sum(sequence * mask, axis=1) / count
        # Half of float16's range, so that adding it to a score neither overflows nor lets padding through.
        away = (1.0 - mask) * ops.cast(-30000.0, sequence.dtype)
        if self.mode == "max":
            return ops.max(sequence * mask + away, axis=1) * ops.max(mask, axis=1)
        scores = ops.matmul(ops.tanh(ops.matmul(sequence, self.kernel) + self.bias), self.context)
        weights = ops.softmax(scores + away, axis=1) * mask
        return ops.sum(sequence * weights, axis=1)

    def compute_output_shape(self, sequence_shape: tuple, **_: Any) -> tuple:
        return (sequence_shape[0], sequence_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mode": self.mode}
