"""Output layer of a head."""

from typing import Any

import keras

from mtl.utils.arguments import checked
from mtl.utils.types import Count, Rate, Size

__all__ = ["Readout"]


@keras.saving.register_keras_serializable("mtl")
class Readout(keras.layers.Layer):
    """Dropout, an optional tanh layer, and a linear layer.

    `y = W tanh(V x + a) + b`, or `y = W x + b` for `hidden=0`, with dropout before each matrix. The linear layer computes
    in float32 under every policy.

    Args:
        units: the number of outputs.
        hidden: the width of the tanh layer; 0 for none.
        dropout: the share of values dropped in training.

    Returns:
        float32 `[..., units]`, from `[..., H]`.

    Example:

    >>> import numpy as np
    >>> Readout(3, hidden=4)(np.ones([2, 8], "float32")).shape
    TensorShape([2, 3])
    """

    @checked
    def __init__(self, units: Count, hidden: Size = 0, dropout: Rate = 0.1, **kwargs: Any):
        super().__init__(**kwargs)
        # Layers
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy, name="dropout")
        self.tanh = keras.layers.Dense(hidden, "tanh", dtype=self.dtype_policy, name="hidden") if hidden else None
        self.linear = keras.layers.Dense(units, dtype="float32", name="linear")
        # Config
        self.units = units
        self.hidden = hidden
        self.dropout = dropout

    def build(self, input_shape: tuple) -> None:
        if self.tanh is not None:
            self.tanh.build(input_shape)
            input_shape = (*input_shape[:-1], self.hidden)
        self.linear.build(input_shape)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        x = self.drop(inputs, training=training)
        if self.tanh is not None:
            x = self.drop(self.tanh(x), training=training)
        return self.linear(x)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (*input_shape[:-1], self.units)

    def compute_output_spec(self, inputs: Any, training: bool | None = None) -> keras.KerasTensor:
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), "float32")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units, "hidden": self.hidden, "dropout": self.dropout}
