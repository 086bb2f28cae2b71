"""Base class of the ways of sharing."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import keras

from mtl.utils.arguments import constructor_arguments

__all__ = ["Part", "Sharing"]


class Part(NamedTuple):
    """A layer of a model, and the tasks whose losses depend on it.

    Args:
        layer: the layer.
        tasks: their names.
    """

    layer: keras.layers.Layer
    tasks: tuple[str, ...]


class Sharing(keras.layers.Layer):
    """Base class of ways to share encoders, which computes each task's features in two stages.

    `trunk` runs once for all tasks, and `branch` runs once for each task. The constructor takes the settings; `bind` takes an
    encoder and tasks, and returns an object that holds all layers between inputs and features.

    In the base class, all tasks share one encoder. A subclass stores each constructor argument as an attribute of the same name,
    extends `bind` to add layers to the result of `super().bind`, runs them in `trunk` or `branch`, and names them in `parts`.
    With several encoders, it overrides `encoder_of` and `whole_encoder` too; with arguments that name tasks, `subset`.
    """

    encoder: Any = None
    #: Names of the tasks; empty before `bind`.
    tasks: tuple[str, ...] = ()
    #: Whether the features of the tasks contain the encoder's `states`.
    with_states = False

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)

    def bind(self, encoder: Any, tasks: Sequence[str], with_states: bool = False) -> "Sharing":
        """Return a new object of the same kind that holds the layers of the tasks; `MultiTaskModel` calls it.

        If this object was bound before, the new one keeps its layers for the tasks that it has.

        Args:
            encoder: a `mtl.encoders.Encoder`.
            tasks: names of the tasks.
            with_states: whether features contain the encoder's `states` too.

        Raises:
            ValueError: the encoder cannot be shared this way.
        """
        bound = type(self).from_config(self.get_config())
        bound.encoder, bound.tasks, bound.with_states, bound.built = encoder, tuple(tasks), with_states, True
        return bound

    def trunk(self, inputs: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        """Return the part common to all tasks, the inputs and the encoder's features, from symbolic or real inputs."""
        return {**inputs, **encode(self.encoder, inputs, self.with_states, training)}

    def branch(self, task: str, shared: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        """Return one task's features from the result of `trunk`."""
        return dict(shared)

    def parts(self) -> dict[str, Part]:
        """Return all layers that have weights, under names that do not depend on the other tasks.

        The parts of a subset of the tasks have the same names and shapes of weights as those of all tasks.
        """
        return {"trunk": Part(self.encoder, self.tasks)}

    def encoder_of(self, task: str) -> Any:
        """Return the encoder whose tokenizer and embeddings a task uses."""
        return self.encoder

    def stacks(self) -> list[Any]:
        """Return the models on which freezing and layer-wise learning rates act, with `layers`, `blocks` and `variables`."""
        return list({id(part.layer): part.layer for part in self.parts().values() if hasattr(part.layer, "blocks")}.values())

    def whole_encoder(self, task: str) -> Any:
        """Return one encoder that computes a task's features alone."""
        return self.encoder_of(task)

    def features(
        self, inputs: Mapping[str, Any], tasks: Iterable[str], training: bool | None = None
    ) -> dict[str, dict[str, Any]]:
        """Return the features of the named tasks only, from symbolic or real inputs."""
        shared = self.trunk(inputs, training=training)
        return {task: self.branch(task, shared, training=training) for task in tasks}

    def penalties(self) -> list[Any]:
        """Return the penalties that this way of sharing adds, each a `mtl.penalties.Penalty`."""
        return []

    def subset(self, tasks: Sequence[str]) -> "Sharing":
        """Return the same way of sharing, not bound, for a model of some of the tasks."""
        return type(self).from_config(self.get_config())

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return constructor_arguments(self)


def encode(encoder: Any, inputs: Mapping[str, Any], with_states: bool, training: bool | None) -> dict[str, Any]:
    """Return an encoder's features, with its states if requested."""
    network = encoder.with_states if with_states else encoder
    return network({name: inputs[name] for name in encoder.input_names}, training=training)
