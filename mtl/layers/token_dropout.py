"""Dropout of whole tokens."""

from typing import Any

import keras
from keras import ops

from mtl.utils.arguments import checked
from mtl.utils.types import Size

__all__ = ["TokenDropout"]


@keras.saving.register_keras_serializable("mtl")
class TokenDropout(keras.layers.Layer):
    """Dropout that replaces each token by the unknown token with probability `rate`; the identity outside training.

    The model learns not to rely on single tokens, and to handle unknown tokens.

    Args:
        rate: the probability, in `[0, 1)`.
        unknown_id: the id that replaces tokens.
        pad_id: the id of padding, which is kept.
        seed: random seed; None for Keras's own.

    Returns:
        int32 `[B, S]`, from ids of that shape.

    Raises:
        ValueError: a rate out of range.

    Example:

    >>> import numpy as np
    >>> ids = np.arange(12).reshape(2, 6)
    >>> bool((TokenDropout(0.5, unknown_id=1)(ids).numpy() == ids).all())
    True

    Reference:
        Iyyer et al., "Deep Unordered Composition Rivals Syntactic Methods for Text Classification", ACL 2015.
    """

    @checked
    def __init__(self, rate: float, unknown_id: int = 1, pad_id: Size = 0, seed: Size | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"TokenDropout expects a rate from 0 to below 1; got {rate}.")
        self.rate = rate
        self.unknown_id = unknown_id
        self.pad_id = pad_id
        self.seed = seed
        self.drop = keras.layers.Dropout(rate, seed=seed, name="dropout")
        self.built = True

    def call(self, token_ids: Any, training: bool | None = None) -> Any:
        token_ids = ops.cast(token_ids, "int32")
        if not training or not self.rate:
            return token_ids
        dropped = self.drop(ops.ones(ops.shape(token_ids)), training=True) == 0
        return ops.where(ops.logical_and(dropped, token_ids != self.pad_id), self.unknown_id, token_ids)

    def compute_output_spec(self, token_ids: Any, training: bool | None = None) -> keras.KerasTensor:
        return keras.KerasTensor(token_ids.shape, "int32")

    def get_config(self) -> dict[str, Any]:
        mine = {"rate": self.rate, "unknown_id": self.unknown_id, "pad_id": self.pad_id, "seed": self.seed}
        return {**super().get_config(), **mine}
