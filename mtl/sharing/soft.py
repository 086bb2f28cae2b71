"""An encoder a task, held close to one another."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
from keras import ops

from mtl.sharing.sharing import Sharing
from mtl.utils.arguments import checked

__all__ = ["Soft"]


@keras.saving.register_keras_serializable("mtl")
class Soft(Sharing):
    """Soft parameter sharing: an encoder a task, tied by the squared distance of their weights.

    Adds `strength * sum_t ||W_t - mean_s W_s||^2` to the loss, over the trainable weights of the K encoders; this is
    `strength / K` times the sum of the squared distances of all pairs. At 0 the tasks share nothing, towards infinity they share
    all. Each encoder begins as a copy of the one given.

    Args:
        strength: the factor of the distance, at least 0.

    Raises:
        ValueError: a negative strength.

    Example:

    >>> import mtl
    >>> mtl.sharing.Soft(0.1).get_config()
    {'strength': 0.1}

    Reference:
        Duong et al., "Low Resource Dependency Parsing: Cross-lingual Parameter Sharing in a Neural Network Parser", ACL 2015.
    """

    @checked
    def __init__(self, strength: float = 1e-3):
        if strength < 0:
            raise ValueError(f"Soft expects a strength of at least 0; got {strength}.")
        self.strength = float(strength)
        self.encoders: dict[str, keras.Model] = {}

    def bind(self, encoder: keras.Model, tasks: Sequence[str]) -> "Soft":
        bound = Soft(self.strength)
        bound.encoders = {task: self.encoders[task] for task in tasks if task in self.encoders}
        for task in tasks:
            if not bound.encoders:
                bound.encoders[task] = encoder
            elif task not in bound.encoders:
                copy = type(encoder).from_config({**encoder.get_config(), "name": f"{encoder.name}_{task}"})
                copy.set_weights(encoder.get_weights())
                bound.encoders[task] = copy
        return bound

    def features(
        self, inputs: Mapping[str, Any], tasks: Iterable[str], training: bool | None = None
    ) -> dict[str, dict[str, Any]]:
        result = {}
        for task in tasks:
            encoder = self.encoders[task]
            own = encoder({name: inputs[name] for name in encoder.input_names}, training=training)
            result[task] = {**inputs, **own}
        return result

    def encoder_of(self, task: str) -> keras.Model:
        return self.encoders[task]

    def task_layers(self, task: str) -> list[keras.layers.Layer]:
        return [self.encoders[task]]

    def penalty(self) -> Any:
        if not self.strength or len(self.encoders) < 2:
            return None
        total = 0.0
        for weights in zip(*(encoder.weights for encoder in self.encoders.values()), strict=True):
            if not any(weight.trainable for weight in weights):
                continue
            values = [ops.cast(weight, "float32") for weight in weights]
            mean = sum(values) / len(values)
            total = total + sum(ops.sum(ops.square(value - mean)) for value in values)
        return self.strength * total

    def get_config(self) -> dict[str, Any]:
        return {"strength": self.strength}
