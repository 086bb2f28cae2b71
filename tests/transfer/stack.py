"""A small encoder of several blocks, quick to trace."""

from typing import Any

import keras
import numpy as np

from mtl import MultiTaskModel, Task
from mtl.encoders.encoder import Encoder
from mtl.heads import Classification

X = {"token_ids": np.random.default_rng(0).integers(1, 12, (8, 5))}
Y = {"a": np.arange(8) % 2, "b": np.arange(8) % 3}


@keras.saving.register_keras_serializable("mtl_tests")
class Stack(Encoder):
    """An embedding, and above it dense layers with a norm each."""

    def __init__(self, layers: int = 2, dropout: float = 0.0, pooling: str = "mean", **kwargs: Any):
        inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in ("token_ids", "padding_mask")}
        x = keras.layers.Embedding(12, 4, name="embedding")(inputs["token_ids"])
        for i in range(layers):
            x = keras.layers.Dense(4, "tanh", name=f"dense_{i}")(keras.layers.Dropout(dropout, name=f"dropout_{i}")(x))
            x = keras.layers.LayerNormalization(name=f"norm_{i}")(x)
        super().__init__(inputs, x, pooling=pooling, **kwargs)
        self.sizes: dict[str, Any] = {"layers": layers, "dropout": dropout}

    @property
    def blocks(self) -> list[list[keras.layers.Layer]]:
        names = [["embedding"], *([f"dense_{i}", f"norm_{i}"] for i in range(self.sizes["layers"]))]
        return [[self.get_layer(name) for name in block] for block in names]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.sizes}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "Stack":
        return cls(**{key: value for key, value in config.items() if key != "dtype"})


def make_model(sharing: Any = None, balancer: Any = None, **options: Any) -> MultiTaskModel:
    tasks = [Task("a", Classification(2, dropout=0.0)), Task("b", Classification(3, dropout=0.0))]
    return MultiTaskModel(Stack(**options), tasks, sharing, balancer)


def values(encoder: Encoder) -> dict[str, np.ndarray]:
    return {variable.path: variable.numpy() for variable in encoder.variables}


def moved(before: dict[str, np.ndarray], encoder: Encoder) -> set[str]:
    """The layers whose weights have changed."""
    return {path.split("/")[0] for path, value in values(encoder).items() if not np.array_equal(before[path], value)}
