"""What every way of sharing is."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras

__all__ = ["Sharing"]


class Sharing:
    """How tasks share encoders: gives each task its features.

    A way of sharing is described by its constructor, and gets its encoder and tasks from `bind`.
    """

    def bind(self, encoder: keras.Model, tasks: Sequence[str]) -> "Sharing":
        """A new object of the same kind that holds the encoders of the tasks; called by `MultiTaskModel`."""
        raise NotImplementedError

    def features(
        self, inputs: Mapping[str, Any], tasks: Iterable[str], training: bool | None = None
    ) -> dict[str, dict[str, Any]]:
        """Each task's features, from symbolic or real inputs; work is done only for the tasks named."""
        raise NotImplementedError

    def encoder_of(self, task: str) -> keras.Model:
        """The encoder whose features a task gets."""
        raise NotImplementedError

    def task_layers(self, task: str) -> list[keras.layers.Layer]:
        """Layers that only this task uses, its head left out."""
        return []

    def penalty(self) -> Any:
        """A scalar added to the loss, or None."""
        return None

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Sharing":
        """The object from `get_config`."""
        return cls(**config)
