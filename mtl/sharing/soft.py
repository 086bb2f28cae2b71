"""One encoder per task, with weights kept close to one another."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from mtl.penalties.towards_mean import TowardsMean
from mtl.sharing.sharing import Part, Sharing, encode
from mtl.utils.arguments import checked

__all__ = ["Soft"]


@keras.saving.register_keras_serializable("mtl")
class Soft(Sharing):
    """Soft parameter sharing: one encoder per task, tied by the squared distance of their weights.

    Adds `strength * sum_t ||W_t - mean_s W_s||^2` to the loss, over the trainable weights of the K encoders; this is
    `strength / K` times the sum of the squared distances of all pairs. At 0 the tasks share nothing; towards infinity they share
    all weights. Each encoder starts as a copy of the given one.

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
    def __init__(self, strength: float = 1e-3, **kwargs: Any):
        super().__init__(**kwargs)
        if strength < 0:
            raise ValueError(f"Soft expects a strength of at least 0; got {strength}.")
        self.strength = float(strength)
        self.encoders: dict[str, Any] = {}

    def bind(self, encoder: Any, tasks: Sequence[str], with_states: bool = False) -> "Soft":
        bound = super().bind(encoder, tasks, with_states)
        assert isinstance(bound, Soft)
        for task in tasks:
            if task in self.encoders:
                bound.encoders[task] = self.encoders[task]
            elif not self.encoders and not bound.encoders:
                bound.encoders[task] = encoder
            else:
                bound.encoders[task] = encoder.copy(f"{encoder.name}_{task}")
        return bound

    def trunk(self, inputs: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        return dict(inputs)

    def branch(self, task: str, shared: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        return {**shared, **encode(self.encoders[task], shared, self.with_states, training)}

    def parts(self) -> dict[str, Part]:
        return {f"encoder/{task}": Part(encoder, (task,)) for task, encoder in self.encoders.items()}

    def encoder_of(self, task: str) -> Any:
        return self.encoders[task]

    def penalties(self) -> list[Any]:
        return [TowardsMean(self.strength, "encoder/*")] if self.strength else []
