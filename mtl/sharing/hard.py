"""One encoder for all tasks."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras

from mtl.sharing.sharing import Sharing

__all__ = ["Hard"]


@keras.saving.register_keras_serializable("mtl")
class Hard(Sharing):
    """Hard parameter sharing: one encoder for all tasks.

    Example:

    >>> import mtl
    >>> mtl.sharing.Hard().get_config()
    {}

    Reference:
        Caruana, "Multitask Learning", Machine Learning 28, 1997.
    """

    encoder: keras.Model

    def bind(self, encoder: keras.Model, tasks: Sequence[str]) -> "Hard":
        bound = Hard()
        bound.encoder = encoder
        return bound

    def features(
        self, inputs: Mapping[str, Any], tasks: Iterable[str], training: bool | None = None
    ) -> dict[str, dict[str, Any]]:
        shared = self.encoder({name: inputs[name] for name in self.encoder.input_names}, training=training)
        return {task: {**inputs, **shared} for task in tasks}

    def encoder_of(self, task: str) -> keras.Model:
        return self.encoder
