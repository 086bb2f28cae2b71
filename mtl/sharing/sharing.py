"""What every way of sharing is."""

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
    """How tasks share encoders: gives each task its features, in two stages.

    `trunk` runs once for all tasks, and `branch` adds what belongs to one task. A way of sharing is described by its
    constructor; `bind` gives it an encoder and tasks, and from then on it owns all layers between inputs and features.

    As it stands, all tasks share one encoder. A way of one's own changes that: its constructor keeps each argument as an
    attribute of the same name, `bind` adds layers to what `super().bind` gives, `trunk` or `branch` runs them, and `parts` names
    them. One that has several encoders gives `encoder_of` and `whole_encoder` too, and one whose arguments name tasks `subset`.
    """

    encoder: Any = None
    #: Names of the tasks; none before `bind`.
    tasks: tuple[str, ...] = ()
    #: Whether the features of the tasks hold the encoder's `states`.
    with_states = False

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)

    def bind(self, encoder: Any, tasks: Sequence[str], with_states: bool = False) -> "Sharing":
        """Return a new object of the same kind that holds the layers of the tasks; `MultiTaskModel` calls it.

        An object that was bound before keeps the layers of the tasks that it knows.

        Args:
            encoder: a `mtl.encoders.Encoder`.
            tasks: names of the tasks.
            with_states: whether features hold the encoder's `states` too.

        Raises:
            ValueError: the encoder cannot be shared this way.
        """
        bound = type(self).from_config(self.get_config())
        bound.encoder, bound.tasks, bound.with_states, bound.built = encoder, tuple(tasks), with_states, True
        return bound

    def trunk(self, inputs: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        """What is the same for all tasks, from symbolic or real inputs: the inputs, and the encoder's features."""
        return {**inputs, **encode(self.encoder, inputs, self.with_states, training)}

    def branch(self, task: str, shared: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        """One task's features, from what `trunk` gave."""
        return dict(shared)

    def parts(self) -> dict[str, Part]:
        """All layers that have weights, under names that do not depend on which other tasks there are.

        The parts of a subset of the tasks bear the same names as those of all tasks, and have weights of the same shapes.
        """
        return {"trunk": Part(self.encoder, self.tasks)}

    def encoder_of(self, task: str) -> Any:
        """The encoder whose tokenizer and embeddings serve a task."""
        return self.encoder

    def stacks(self) -> list[Any]:
        """What freezing and learning rates by depth act on: each has `layers`, `blocks` from the lowest up, and `variables`."""
        return list({id(part.layer): part.layer for part in self.parts().values() if hasattr(part.layer, "blocks")}.values())

    def whole_encoder(self, task: str) -> Any:
        """One encoder that gives a task's features by itself."""
        return self.encoder_of(task)

    def features(
        self, inputs: Mapping[str, Any], tasks: Iterable[str], training: bool | None = None
    ) -> dict[str, dict[str, Any]]:
        """Each task's features, from symbolic or real inputs; work is done only for the tasks named."""
        shared = self.trunk(inputs, training=training)
        return {task: self.branch(task, shared, training=training) for task in tasks}

    def penalties(self) -> list[Any]:
        """The penalties that come with this way of sharing, each a `mtl.penalties.Penalty`."""
        return []

    def subset(self, tasks: Sequence[str]) -> "Sharing":
        """Return the same way of sharing, not bound, for a model of some of the tasks."""
        return type(self).from_config(self.get_config())

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return constructor_arguments(self)


def encode(encoder: Any, inputs: Mapping[str, Any], with_states: bool, training: bool | None) -> dict[str, Any]:
    """An encoder's features, with its states where they are wanted."""
    network = encoder.with_states if with_states else encoder
    return network({name: inputs[name] for name in encoder.input_names}, training=training)
