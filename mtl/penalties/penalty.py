"""Base class of the penalties."""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from types import SimpleNamespace
from typing import Any

import keras
from keras import ops

from mtl.utils.arguments import constructor_arguments

__all__ = ["Penalty", "chosen_parts", "squared_norm"]


class Penalty(keras.layers.Layer):
    """Base class of terms that are added to the loss once per step and depend on the model's weights.

    The constructor takes the settings; `bind` selects the layers to penalise. A subclass implements `value`, and its constructor
    stores each argument as an attribute of the same name. A subclass with variables extends `bind`.

    Args:
        parts: names of the penalised parts of the model, or patterns that match them, such as `"head/*"`; None for all.
    """

    parts: str | Sequence[str] | None = None

    def __init__(self, parts: str | Sequence[str] | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.parts = parts if parts is None or isinstance(parts, str) else list(parts)
        self._chosen = SimpleNamespace(parts={})  # Keras would track dicts of layers as part of this layer.

    def bind(self, parts: Mapping[str, Any]) -> "Penalty":
        """Return a new object of the same kind for a model; `MultiTaskModel` calls it.

        Args:
            parts: the model's layers that have weights, `mtl.sharing.Part`s by name: those of its sharing, such as `trunk`,
                and `head/TASK` for each task.

        Raises:
            ValueError: the model has no part that the penalty selects.
        """
        bound = type(self).from_config(self.get_config())
        bound._chosen.parts = chosen_parts(parts, "*" if self.parts is None else self.parts, type(self).__name__)
        bound.built = True
        return bound

    @property
    def chosen(self) -> dict[str, Any]:
        """Penalised parts by name; empty before `bind`."""
        return self._chosen.parts

    @property
    def trained(self) -> list[Any]:
        """Trainable weights of the penalised parts."""
        return [weight for part in self.chosen.values() for weight in part.layer.trainable_weights]

    def value(self) -> Any:
        """Return the term, a float32 scalar."""
        raise NotImplementedError

    def carry(self, other: "Penalty") -> None:
        """Copy the state, such as the start of weights, from the same penalty of a larger model."""

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments and `parts`."""
        return {**constructor_arguments(self), "parts": self.parts}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Penalty":
        """Create a penalty from the result of `get_config`; its constructor need not accept `parts`."""
        config = dict(config)
        parts = config["parts"] if "parts" in inspect.signature(cls).parameters else config.pop("parts", None)
        penalty = cls(**config)
        penalty.parts = parts
        return penalty


def chosen_parts(parts: Mapping[str, Any], patterns: str | Sequence[str], owner: str) -> dict[str, Any]:
    """Return the parts whose names match a pattern, such as `"top/*"`, or one of several.

    Raises:
        ValueError: no name matches.
    """
    wanted = [patterns] if isinstance(patterns, str) else list(patterns)
    found = {name: part for name, part in parts.items() if any(fnmatchcase(name, pattern) for pattern in wanted)}
    if not found:
        raise ValueError(f"{owner} expects parts of the model named like {wanted}; it has {list(parts)}. Choose among these.")
    return found


def squared_norm(values: Iterable[Any]) -> Any:
    """Return the sum of the squares of all entries of several tensors, in float32."""
    return sum((ops.sum(ops.square(ops.cast(value, "float32"))) for value in values), ops.zeros([]))
