"""A task: a name, a head, and the sources of its examples."""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras

from mtl.data.example import Example
from mtl.data.source import Source
from mtl.heads.head import Head
from mtl.heads.multi_label import MultiLabel
from mtl.utils import unknown_name
from mtl.utils.arguments import checked
from mtl.utils.configs import check_config
from mtl.utils.labels import doubtful_labels

__all__ = ["Task"]

logger = logging.getLogger(__name__)

READOUTS = ("last", "scalar_mix")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@keras.saving.register_keras_serializable("mtl")
class Task:
    """A name, a head, and the sources of its examples.

    A head holds weights, and models made with the same task share them. Make new tasks for a model that is to start with new
    weights.

    Args:
        name: letters, digits and `_`; the key of the task's predictions, losses and metrics.
        head: a `mtl.heads.Head`.
        source: a source, several sources, or None for a task that is trained on arrays, or used for prediction only.
        label: name of the label in the source. By default the label with the name of the task, or the only label.
        source_label: True to label each example with the name of its source, as in classification of domains or languages; or
            name of a source -> label of its examples. Rows that no other task labels are kept for this task.
        readout: encoder states that the head reads: `"last"`, the last one, or `"scalar_mix"`, a learned mean of all states
            (`mtl.layers.ScalarMix`).

    Raises:
        ValueError: a bad name, an unknown readout, or a label that no source carries.

    Example:

    >>> import mtl
    >>> rows = mtl.data.records([{"text": "so good", "mood": "up"}] * 9, label="mood")
    >>> task = mtl.Task("mood", mtl.heads.Classification(["down", "up"]), rows)
    >>> [value for _, value in task.labelled("train")][:2]
    ['up', 'up']
    """

    @checked
    def __init__(
        self,
        name: str,
        head: Head,
        source: Source | Sequence[Source] | None = None,
        label: str | None = None,
        source_label: bool | Mapping[str, Any] = False,
        readout: str = "last",
    ):
        if not _NAME.fullmatch(name):
            raise ValueError(f"A task's name is a letter followed by letters, digits or '_'; got '{name}'. Choose another name.")
        if name == "loss":
            raise ValueError("A task cannot be named 'loss': logs use that name for the model's loss. Choose another name.")
        if name == "val" or name.startswith("val_"):
            raise ValueError(
                f"A task cannot be named '{name}': logs begin validation's figures with 'val_'. Choose another name."
            )
        if readout not in READOUTS:
            raise unknown_name("readout", readout, READOUTS)
        if not head.built and not head.named:
            head.name = f"{name}_head"  # No two heads of a model may share a name, loaded ones included.
        self.name = name
        self.head = head
        self.label = label
        self.source_label = source_label if isinstance(source_label, bool) else dict(source_label)
        self.readout = readout
        self.sources = () if source is None else (source,) if isinstance(source, Source) else tuple(source)
        for one in self.sources:
            self.label_in(one)
        if self.source_label:
            self._check_source_names()

    def label_in(self, source: Source) -> str | None:
        """Return the name of this task's label in a source's examples; None if the head needs no label."""
        if self.head.corrupts_inputs or self.source_label:
            return None
        if self.label is not None:
            if self.label not in source.labels:
                raise unknown_name(f"label of task '{self.name}' in source '{source.name}'", self.label, source.labels)
            return self.label
        if self.name in source.labels:
            return self.name
        if len(source.labels) == 1:
            return source.labels[0]
        raise ValueError(
            f"Source '{source.name}' carries the labels {list(source.labels)}, none named like task '{self.name}'. "
            f"Say which one with Task('{self.name}', ..., label=NAME)."
        )

    def value(self, example: Example, source: Source) -> Any:
        """Return this task's label of an example; None without a label or with weight 0. Heads that need no label get True."""
        if example.weight == 0:
            return None
        if self.source_label:
            value = self.label_of(source)
        else:
            name = self.label_in(source)
            value = True if name is None else example.labels.get(name)
        return None if self.head.absent(value) else value

    def label_of(self, source: Source) -> Any:
        """Return the label that `source_label` gives to all examples of a source; None if it gives none."""
        if isinstance(self.source_label, dict):
            return self.source_label.get(source.name)
        return source.name if self.source_label else None

    def _check_source_names(self) -> None:
        names = [source.name for source in self.sources]
        if self.label is not None:
            raise ValueError(f"Task '{self.name}' takes label='{self.label}' or a source_label; got both. Leave one of them out.")
        if len(set(names)) < len(names):
            raise ValueError(
                f"Task '{self.name}' is labelled by the names of its sources, which must differ; got {names}. "
                "Set `source.name` of each."
            )
        for name in self.source_label if isinstance(self.source_label, dict) and names else ():
            if name not in names:
                raise unknown_name(f"source of task '{self.name}'", name, names)

    def labelled(self, split: str) -> Iterator[tuple[Example, Any]]:
        """Yield the examples of a split that have a label for this task, and the labels."""
        for source in self.sources:
            if split in source.splits:
                for example in source.examples(split):
                    value = self.value(example, source)
                    if value is not None:
                        yield example, value

    def prepare(self) -> None:
        """Learn the head's label vocabulary from the training split, unless the head has one.

        Raises:
            ValueError: the training split has no labels to learn from.
        """
        if self.head.ready:
            return
        splits = sorted({split for source in self.sources for split in source.splits})
        if splits and "train" not in splits:
            raise ValueError(
                f"Task '{self.name}' learns its labels from a split 'train'; its sources "
                f"{[source.name for source in self.sources]} have only {splits}. "
                f"Add training data, or give the head {self.head.learned}."
            )
        if not self.sources:
            raise ValueError(
                f"Task '{self.name}' has no source to take its labels from. Give its head what it would learn, "
                f"{type(self.head).__name__}({self.head.learned}), or give the task a source."
            )
        seen, place = False, ""
        weights: list[float] = []

        def values() -> Iterator[Any]:
            nonlocal seen, place
            for example, value in self.labelled("train"):
                seen = True
                weights.append(example.weight)
                place = f"{example.place}: " if example.place else ""
                yield value
            place = ""  # A later error concerns all labels.

        try:
            self.head.learn(values(), weights=weights)
        except (ValueError, TypeError) as error:
            if not seen:
                raise
            raise ValueError(f"{place}task '{self.name}': {error}") from error
        if not self.head.ready and seen:
            raise ValueError(
                f"The training split's labels for task '{self.name}' name nothing to learn, such as tags that are all 'O'. "
                f"Give the head its labels: {type(self.head).__name__}({self.head.learned})."
            )
        if not self.head.ready:
            raise ValueError(f"No example of the training split is labelled for task '{self.name}'. Check its source and label.")
        for doubt in doubtful_labels(self.head.labels or (), isinstance(self.head, MultiLabel)):
            logger.warning("Task '%s': %s", self.name, doubt)

    def get_config(self) -> dict[str, Any]:
        """Return the configuration of the task, without its source."""
        return {
            "name": self.name,
            "head": keras.saving.serialize_keras_object(self.head),
            "label": self.label,
            "source_label": self.source_label,
            "readout": self.readout,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Task":
        """Return a task, created from the result of `get_config`."""
        check_config(config, "a task")
        return cls(**{**config, "head": keras.saving.deserialize_keras_object(config["head"])})

    def __repr__(self) -> str:
        return f"Task({self.name!r}, {type(self.head).__name__}, sources={[s.name for s in self.sources]})"
