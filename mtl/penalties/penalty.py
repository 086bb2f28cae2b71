"""What every penalty is."""

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import keras
from keras import ops

__all__ = ["Penalty", "chosen_parts", "squared_norm"]


class Penalty(keras.layers.Layer):
    """A term that is added to the loss once per step, a function of the model's weights.

    A penalty is described by its constructor; `bind` gives it the layers that it is about. A penalty of one's own gives `bind`
    and `value`, and `get_config` if its constructor takes arguments.
    """

    def bind(self, parts: Mapping[str, Any]) -> "Penalty":
        """Return a new object of the same kind for a model; `MultiTaskModel` calls it.

        Args:
            parts: the model's layers that have weights, `mtl.sharing.Part`s by name: those of its sharing, such as `trunk`,
                and `head/TASK` for each task.

        Raises:
            ValueError: the model has nothing that the penalty is about.
        """
        raise NotImplementedError

    def value(self) -> Any:
        """The term, a float32 scalar."""
        raise NotImplementedError

    def carry(self, other: "Penalty") -> None:
        """Takes over what the same penalty of a larger model remembers, such as where weights started."""

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {}


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
