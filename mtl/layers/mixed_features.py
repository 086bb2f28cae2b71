"""Features computed from all of an encoder's states."""

from collections.abc import Mapping
from typing import Any

import keras

from mtl.layers.pooling import Pooling
from mtl.layers.scalar_mix import ScalarMix
from mtl.utils.arguments import checked

__all__ = ["MixedFeatures"]


@keras.saving.register_keras_serializable("mtl")
class MixedFeatures(keras.layers.Layer):
    """Scalar mix of an encoder's states, which replaces the last state in its features.

    Args:
        pooling: pooling mode of the mix, as in `mtl.layers.Pooling`.

    Returns:
        The given features, without `states`, with the mix as `sequence [B, S, H]` and its pooling as `pooled [B, H]`.

    Example:

    >>> import numpy as np
    >>> states = [np.ones([1, 2, 3], "float32"), np.full([1, 2, 3], 3.0, "float32")]
    >>> features = MixedFeatures("mean")({"states": states, "padding_mask": np.ones([1, 2], "int32")})
    >>> features["pooled"].numpy().tolist()
    [[2.0, 2.0, 2.0]]
    """

    @checked
    def __init__(self, pooling: str = "mean", **kwargs: Any):
        super().__init__(**kwargs)
        # Layers
        self.mix = ScalarMix(dtype=self.dtype_policy, name="mix")
        self.pool = Pooling(pooling, dtype=self.dtype_policy, name="pool")
        # Config
        self.pooling = pooling

    def build(self, features_shape: Mapping[str, Any]) -> None:
        self.mix.build(features_shape["states"])
        self.pool.build(features_shape["states"][0])

    def call(self, features: Mapping[str, Any]) -> dict[str, Any]:
        sequence = self.mix(features["states"])
        pooled = self.pool(sequence, padding_mask=features["padding_mask"])
        others = {name: value for name, value in features.items() if name != "states"}
        return {**others, "sequence": sequence, "pooled": pooled}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "pooling": self.pooling}
