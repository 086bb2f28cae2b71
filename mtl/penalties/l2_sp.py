"""Penalty that keeps weights near their start."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import keras
from keras import ops

from mtl.penalties.penalty import Penalty, chosen_parts, squared_norm
from mtl.utils.arguments import checked
from mtl.utils.types import Weight

__all__ = ["L2SP"]


@keras.saving.register_keras_serializable("mtl")
class L2SP(Penalty):
    """The squared distance of pretrained weights from their start, and of new weights from zero.

    `alpha / 2 ||W - W_0||^2 + beta / 2 ||V||^2`: `W` are the trained weights of the named parts, `W_0` their values when the
    model was made, and `V` the trained weights of all other parts. The start is saved with the model.

    Args:
        alpha: the factor of the distance, at least 0.
        beta: the factor of the other weights, at least 0.
        parts: names of the parts with a start, or patterns that match them; None for all but the heads and readouts.

    Raises:
        ValueError: a negative factor; from `bind`, a model without the parts named.

    Example:

    >>> import mtl
    >>> encoder = mtl.encoders.Recurrent(vocabulary_size=9, embedding=4, units=4)
    >>> model = mtl.MultiTaskModel(encoder, mtl.Task("mood", mtl.heads.Classification(2)), penalties=[L2SP(0.2)])
    >>> before = float(model.penalty())
    >>> _ = encoder.token_embedding.embeddings.assign_add(keras.ops.ones([9, 4]))
    >>> before, round(float(model.penalty()), 3)  # 36 weights moved by 1: 0.2 / 2 * 36
    (0.0, 3.6)

    Reference:
        Li, Grandvalet and Davoine, "Explicit Inductive Bias for Transfer Learning with Convolutional Networks", ICML 2018.
    """

    @checked
    def __init__(self, alpha: Weight = 0.01, beta: Weight = 0.0, parts: str | Sequence[str] | None = None, **kwargs: Any):
        super().__init__(parts, **kwargs)
        self.alpha, self.beta = float(alpha), float(beta)
        #: Part -> copies of its weights at the start.
        self.starts: dict[str, list[Any]] = {}
        self._weights = SimpleNamespace(pulled=[], others=[])  # Keras would track lists of weights as part of this layer.

    def bind(self, parts: Mapping[str, Any]) -> "L2SP":
        bound = L2SP(self.alpha, self.beta, self.parts)
        new = [name for name in parts if not name.startswith(("head/", "readout/"))]
        chosen = chosen_parts(parts, new if self.parts is None else self.parts, "L2SP")
        bound._chosen.parts = chosen
        for name, part in chosen.items():
            known = self.starts.get(name)  # Kept where a task is added to the model.
            bound.starts[name] = known or [
                bound.add_weight(name=f"start_{i}", shape=weight.shape, initializer=_value_of(weight), trainable=False)
                for i, weight in enumerate(part.layer.weights)
            ]
            bound._weights.pulled += zip(part.layer.weights, bound.starts[name], strict=True)
        bound._weights.others = [w for name, part in parts.items() if name not in chosen for w in part.layer.weights]
        bound.built = True
        return bound

    def value(self) -> Any:
        pulled = [(weight, start) for weight, start in self._weights.pulled if weight.trainable]
        distance = squared_norm(ops.cast(weight, "float32") - ops.cast(start, "float32") for weight, start in pulled)
        term = self.alpha / 2 * distance
        if self.beta:
            term += self.beta / 2 * squared_norm(weight for weight in self._weights.others if weight.trainable)
        return term

    def carry(self, other: Penalty) -> None:
        assert isinstance(other, L2SP)
        for name, starts in self.starts.items():
            for mine, theirs in zip(starts, other.starts[name], strict=True):
                mine.assign(theirs)


def _value_of(weight: Any) -> Any:
    return lambda shape, dtype: ops.cast(weight, dtype)
