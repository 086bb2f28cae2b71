"""What every penalty is."""

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
    """A term that is added to the loss once per step, a function of the model's weights.

    A penalty is described by its constructor; `bind` gives it the layers that it is about. A penalty of one's own gives `value`,
    and its constructor keeps each argument as an attribute of the same name. One with variables of its own extends `bind`.

    Args:
        parts: names of the parts of the model that it is about, or patterns that match them, such as `"head/*"`; None for all.
    """

    parts: str | Sequence[str] | None = None

    def __init__(self, parts: str | Sequence[str] | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.parts = parts if parts is None or isinstance(parts, str) else list(parts)
        self._chosen = SimpleNamespace(parts={})  # Keras tracks dicts of layers as this layer's own.

    def bind(self, parts: Mapping[str, Any]) -> "Penalty":
        """Return a new object of the same kind for a model; `MultiTaskModel` calls it.

        Args:
            parts: the model's layers that have weights, `mtl.sharing.Part`s by name: those of its sharing, such as `trunk`,
                and `head/TASK` for each task.

        Raises:
            ValueError: the model has nothing that the penalty is about.
        """
        bound = type(self).from_config(self.get_config())
        bound._chosen.parts = chosen_parts(parts, "*" if self.parts is None else self.parts, type(self).__name__)
        bound.built = True
        return bound

    @property
    def chosen(self) -> dict[str, Any]:
        """The parts that the penalty is about, by name; none before `bind`."""
        return self._chosen.parts

    @property
    def trained(self) -> list[Any]:
        """The weights of the parts that training moves."""
        return [weight for part in self.chosen.values() for weight in part.layer.trainable_weights]

    def value(self) -> Any:
        """The term, a float32 scalar."""
        raise NotImplementedError

    def carry(self, other: "Penalty") -> None:
        """Takes over what the same penalty of a larger model remembers, such as where weights started."""

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, and `parts`."""
        return {**constructor_arguments(self), "parts": self.parts}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Penalty":
        """The penalty from `get_config`; a constructor that names no `parts` need not take them."""
        config = dict(config)
        parts = config["parts"] if "parts" in inspect.signature(cls).parameters else config.pop("parts", None)
        penalty = cls(**config)
        penalty.parts = parts
        return penalty


def chosen_parts(parts: Mapping[str, Any], patterns: str | Sequence[str], owner: str) -> dict[str, Any]:
    """The parts whose names match a pattern, such as `"top/*"`, or one of several.

    Raises:
        ValueError: none does.
    """
    wanted = [patterns] if isinstance(patterns, str) else list(patterns)
    found = {name: part for name, part in parts.items() if any(fnmatchcase(name, pattern) for pattern in wanted)}
    if not found:
        raise ValueError(f"{owner} expects parts of the model named like {wanted}; it has {list(parts)}. Choose among these.")
    return found


def squared_norm(values: Iterable[Any]) -> Any:
    """Sum of the squares of all numbers of some tensors, in float32."""
    return sum((ops.sum(ops.square(ops.cast(value, "float32"))) for value in values), ops.zeros([]))
