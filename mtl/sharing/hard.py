"""One encoder for all tasks, or for all but its top."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import keras

from mtl.sharing.sharing import Part, Sharing
from mtl.utils import unknown_name
from mtl.utils.arguments import checked
from mtl.utils.types import Size

__all__ = ["Hard"]


@keras.saving.register_keras_serializable("mtl")
class Hard(Sharing):
    """Hard parameter sharing: one encoder for all tasks, whose top blocks may be separate for each task.

    With `top_layers=n` the encoder is cut `n` blocks below its top: the part below runs once for all tasks, and each task has a
    copy of the `n` blocks and of the pooling above them. Each copy starts with the weights of the given encoder. Tasks in one
    of the `groups` use one copy, so that tasks form a tree.

    Args:
        top_layers: number of separate blocks per task, as in `encoder.blocks`; 0 to share all.
        groups: name of a group -> its tasks, which share one top; a task in no group has a separate top. None for no groups.

    Raises:
        ValueError: a negative number, groups without `top_layers`, a task in two groups, a group without tasks or with a `/` in
            its name; from `bind`, an encoder that cannot be cut there, a group of a task that the model does not have, or one
            named like a task outside it.

    Example:

    >>> import mtl
    >>> encoder = mtl.encoders.Transformer(vocabulary_size=9, width=4, layers=3, heads=1)
    >>> sharing = mtl.sharing.Hard(top_layers=1, groups={"tags": ["ner", "pos"]}).bind(encoder, ["ner", "pos", "topic"])
    >>> {name: part.tasks for name, part in sharing.parts().items()}
    {'trunk': ('ner', 'pos', 'topic'), 'top/tags': ('ner', 'pos'), 'top/topic': ('topic',)}

    Reference:
        Caruana, "Multitask Learning", Machine Learning 28, 1997. Trees of tasks: Chen et al., "Multi-Task Learning in Natural
        Language Processing: An Overview", ACM Computing Surveys 2024, section 3.1.
    """

    @checked
    def __init__(self, top_layers: Size = 0, groups: Mapping[str, Sequence[str]] | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        if groups and not top_layers:
            raise ValueError(f"Hard expects top_layers above 0 where groups={dict(groups)} say who shares them; got 0.")
        self.top_layers = top_layers
        self.groups = {name: list(tasks) for name, tasks in (groups or {}).items()}
        self._group_of: dict[str, str] = {}
        for name, tasks in self.groups.items():
            if not tasks or not name or "/" in name:
                raise ValueError(f"Hard expects groups of at least one task, and names without '/'; got {name!r}: {tasks}.")
            for task in tasks:
                if task in self._group_of:
                    raise ValueError(
                        f"Hard expects each task in one group; got '{task}' in '{self._group_of[task]}' and '{name}'."
                    )
                self._group_of[task] = name
        self.lower: Any = None
        self.tops: dict[str, Any] = {}

    def bind(self, encoder: Any, tasks: Sequence[str], with_states: bool = False) -> "Hard":
        bound = super().bind(encoder, tasks, with_states)
        assert isinstance(bound, Hard)
        if not self.top_layers:
            return bound
        self._check_groups(tasks)
        if with_states:
            raise ValueError("Hard(top_layers=...) gives each task a top of its own, whose states are not shared; read the last.")
        known = self.tops if self.lower is not None and self.encoder is encoder else {}
        if known:
            bound.lower = self.lower
        else:
            bound.lower, first = encoder.split(self.top_layers)
        for group in dict.fromkeys(map(self._group, tasks)):
            if group in known:
                bound.tops[group] = known[group]
            elif not known and not bound.tops:
                bound.tops[group] = first
            else:
                bound.tops[group] = encoder.copy(f"{encoder.name}_{group}").split(self.top_layers)[1]
        return bound

    def trunk(self, inputs: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        if not self.top_layers:
            return super().trunk(inputs, training=training)
        own = {name: inputs[name] for name in self.encoder.input_names}
        return {**inputs, "state": self.lower(own, training=training)}

    def branch(self, task: str, shared: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        if not self.top_layers:
            return super().branch(task, shared, training=training)
        inputs = {name: value for name, value in shared.items() if name != "state"}
        own = [inputs[name] for name in self.encoder.input_names]
        return {**inputs, **self.tops[self._group(task)]([shared["state"], *own], training=training)}

    def parts(self) -> dict[str, Part]:
        if not self.top_layers:
            return super().parts()
        parts = {"trunk": Part(self.lower, self.tasks)}
        for group, top in self.tops.items():
            parts[f"top/{group}"] = Part(top, tuple(task for task in self.tasks if self._group(task) == group))
        return parts

    def stacks(self) -> list[Any]:
        if not self.top_layers:
            return [self.encoder]
        networks = [self.lower, *self.tops.values()]
        layers = [layer for network in networks for layer in network.layers]
        blocks = [[layer for layer in layers if layer.name in {own.name for own in block}] for block in self.encoder.blocks]
        variables = [variable for network in networks for variable in network.variables]
        return [SimpleNamespace(layers=layers, blocks=blocks, variables=variables, trainable=True)]

    def whole_encoder(self, task: str) -> Any:
        if not self.top_layers:
            return self.encoder
        encoder = self.encoder.copy(self.encoder.name)
        encoder.split(self.top_layers)[1].set_weights(self.tops[self._group(task)].get_weights())
        return encoder

    def subset(self, tasks: Sequence[str]) -> "Sharing":
        kept = {name: [task for task in members if task in tasks] for name, members in self.groups.items()}
        return type(self).from_config(
            {**self.get_config(), "groups": {name: members for name, members in kept.items() if members}}
        )

    def get_config(self) -> dict[str, Any]:
        groups = {"groups": self.groups} if self.groups else {}
        return {"top_layers": self.top_layers, **groups} if self.top_layers else {}

    def _check_groups(self, tasks: Sequence[str]) -> None:
        for name, members in self.groups.items():
            for task in members:
                if task not in tasks:
                    raise unknown_name(f"task of Hard's group '{name}'", task, tasks)
            if name in tasks and name not in members:
                raise ValueError(
                    f"Hard expects a group and a task outside it to have different names; got '{name}' for both. Rename one."
                )

    def _group(self, task: str) -> str:
        return self._group_of.get(task, task)
