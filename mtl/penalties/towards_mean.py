"""Penalty that keeps weights near their mean."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import keras
from keras import ops

from mtl.penalties.penalty import Penalty, squared_norm
from mtl.utils.arguments import checked
from mtl.utils.types import Weight

__all__ = ["TowardsMean"]


@keras.saving.register_keras_serializable("mtl")
class TowardsMean(Penalty):
    """The squared distance of several tasks' weights from their mean.

    `strength * sum_t ||W_t - mean_s W_s||^2`, over the trained weights of parts with the same structure, one per task or group
    of tasks; `strength / K` times the sum of the squared distances of all K (K - 1) / 2 pairs. `Soft` adds it to its encoders.

    Args:
        strength: the factor, at least 0.
        parts: names of the parts, or a pattern that matches them, such as `"top/*"`.

    Raises:
        ValueError: a negative strength; from `bind`, parts of different structures.

    Example:

    >>> import mtl
    >>> encoder = mtl.encoders.Transformer(vocabulary_size=9, width=4, layers=2, heads=1)
    >>> tasks = [mtl.Task("mood", mtl.heads.Classification(2)), mtl.Task("topic", mtl.heads.Classification(3))]
    >>> tied = TowardsMean(0.1, "top/*")
    >>> model = mtl.MultiTaskModel(encoder, tasks, sharing=mtl.sharing.Hard(top_layers=1), penalties=[tied])
    >>> float(model.penalty())  # Both tops begin alike.
    0.0

    Reference:
        Duong et al., "Low Resource Dependency Parsing: Cross-lingual Parameter Sharing in a Neural Network Parser", ACL 2015.
    """

    @checked
    def __init__(self, strength: Weight, parts: str | Sequence[str], **kwargs: Any):
        super().__init__(parts, **kwargs)
        self.strength = float(strength)
        self._tied = SimpleNamespace(weights=[])  # Keras would track lists of weights as part of this layer.

    def bind(self, parts: Mapping[str, Any]) -> "TowardsMean":
        bound = super().bind(parts)
        assert isinstance(bound, TowardsMean)
        shapes = {name: [tuple(weight.shape) for weight in part.layer.weights] for name, part in bound.chosen.items()}
        first, *others = shapes
        for other in others:
            if shapes[other] != shapes[first]:
                raise ValueError(
                    f"TowardsMean expects parts with weights of the same shapes; '{first}' and '{other}' differ. "
                    "Name parts of one kind."
                )
        bound._tied.weights = list(zip(*(part.layer.weights for part in bound.chosen.values()), strict=True))
        return bound

    def value(self) -> Any:
        total = ops.zeros([])
        for weights in self._tied.weights:
            if len(weights) > 1 and any(weight.trainable for weight in weights):
                values = [ops.cast(weight, "float32") for weight in weights]
                mean = sum(values) / len(values)
                total += squared_norm(value - mean for value in values)
        return self.strength * total
