"""One model for many tasks."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from mtl import balancing
from mtl.balancing import Balancer
from mtl.data.columns import columns_of, completed
from mtl.data.example import Example
from mtl.data.source import Source
from mtl.encoders.encoder import Encoder
from mtl.export import export
from mtl.heads.head import Head
from mtl.layers.mixed_features import MixedFeatures
from mtl.penalties import Penalty
from mtl.predicting import Prediction, PredictionFunctions, flat_outputs, predict_examples, to_examples
from mtl.sharing import Hard, Part, Sharing
from mtl.task import Task
from mtl.training import Engine, check_process, shared_size
from mtl.utils import brief, unknown_name
from mtl.utils.arguments import checked
from mtl.utils.configs import check_config
from mtl.utils.sampling import sample
from mtl.utils.types import Count, Size

__all__ = ["MultiTaskModel"]

GRADIENTS_AT = ("parameters", "representation")


@keras.saving.register_keras_serializable("mtl")
class MultiTaskModel(Engine):
    """One model for many tasks: inputs -> sharing -> heads, a functional Keras model.

    Its prediction is a dict with one entry per task. It is compiled with an optimizer alone; losses and metrics come from the
    heads, and are exact for batches in which any row may be labelled for any subset of the tasks.

    Args:
        encoder: a `mtl.encoders.Encoder`.
        tasks: the tasks, with different names.
        sharing: how the tasks share the encoder; `Hard()` by default.
        balancer: how their losses become one update: a balancer, or anything that `mtl.balancing.get` accepts, such as `"rlw"`;
            `Static()`, all weights 1, by default. A balancer that another model uses already is copied.
        gradients_at: where a gradient balancer compares gradients: `"parameters"`, all that two or more tasks share;
            `"representation"`, the features that the tasks share, at the cost of one backward pass through the encoder for all
            tasks; or names of the encoder's layers. Representations of rows labelled for a single task have nothing in common.
            Methods that need the gradients themselves require `"parameters"`.
        penalties: terms added to the loss besides those of `sharing`, each a `mtl.penalties.Penalty`.

    Raises:
        ValueError: no task, two tasks with one name, a head that does not know its labels, or an invalid `gradients_at`.

    Example:

    >>> import numpy as np, keras, mtl
    >>> encoder = mtl.encoders.Recurrent(vocabulary_size=50, embedding=8, units=8)
    >>> tasks = [mtl.Task("sentiment", mtl.heads.Classification(2)), mtl.Task("topic", mtl.heads.Classification(10))]
    >>> model = mtl.MultiTaskModel(encoder, tasks)
    >>> model.compile("adam")
    >>> x, y = np.ones((4, 6), "int32"), np.zeros(4, "int32")
    >>> history = model.fit({"token_ids": x}, {"sentiment": y, "topic": y}, verbose=0)
    >>> {name: scores.shape for name, scores in model.predict({"token_ids": x}, verbose=0).items()}
    {'sentiment': (4, 2), 'topic': (4, 10)}
    """

    @checked
    def __init__(
        self,
        encoder: Encoder,
        tasks: Task | Sequence[Task],
        sharing: Sharing | None = None,
        balancer: Balancer | Any = None,
        gradients_at: str | Sequence[str] = "parameters",
        penalties: Sequence[Penalty] = (),
        **kwargs: Any,
    ):
        # Layers
        tasks = [tasks] if isinstance(tasks, Task) else list(tasks)
        names = [task.name for task in tasks]
        if not tasks:
            raise ValueError("MultiTaskModel expects at least one task; got none.")
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"Tasks need different names; got '{name}' twice.")
        heads = [id(task.head) for task in tasks]
        for task in tasks:
            if heads.count(id(task.head)) > 1:
                raise ValueError(
                    f"Each task needs a head of its own; that of '{task.name}' is another task's too. Make a second one."
                )
            task.prepare()
        if isinstance(gradients_at, str) and gradients_at not in GRADIENTS_AT:
            raise unknown_name("place to compare gradients at", gradients_at, GRADIENTS_AT)
        balancer = balancing.get(balancer)
        if balancer.bound:  # It holds the state of another model.
            balancer = type(balancer).from_config(balancer.get_config())
        balancer.bind(names)
        mixed = [task.name for task in tasks if task.readout == "scalar_mix"]
        sharing = (sharing if sharing is not None else Hard()).bind(encoder, names, with_states=bool(mixed))
        readouts = {name: MixedFeatures(encoder.pooling, dtype=encoder.dtype_policy, name=f"{name}_readout") for name in mixed}

        # Functional model
        columns = columns_of(encoder, [task.head for task in tasks])
        inputs = {name: keras.Input(column.static_shape, dtype=column.dtype, name=name) for name, column in columns.items()}
        shared = sharing.trunk(inputs)
        outputs = {}
        for task in tasks:
            task.head.attach(sharing.encoder_of(task.name))
            features = _branch(sharing, readouts, task.name, shared)
            output = task.head(features)
            if task.head.predicts:
                outputs[task.name] = Prediction(task.head, name=f"{task.name}_prediction")(output, features)
        super().__init__(inputs=inputs, outputs=outputs or {"pooled": features["pooled"]}, **kwargs)
        self.heads = {task.name: task.head for task in tasks}

        # Config
        self.encoder = encoder
        self.columns = columns
        self.tasks = tuple(tasks)
        self.task_names = tuple(names)
        self.sharing = sharing
        self.readouts = readouts
        self.penalties = [given.bind(self.parts()) for given in penalties]
        self._penalties = [*self.penalties, *(given.bind(self.parts()) for given in sharing.penalties())]
        self.gradients_at = gradients_at if isinstance(gradients_at, str) else tuple(gradients_at)
        self.balancer = balancer
        self._functions = PredictionFunctions()
        self.start_engine()
        if balancer.tracks_gradients and len(names) > 1:
            balancer.bind(names, shared_size(self))
        self.balancer_state = balancer.state  # A layer, so that it is saved and trained with the model.

    # Methods that the engine calls -------------------------------------------------------------------------------

    def complete(self, x: Any) -> dict[str, Any]:
        """Return the model's columns, with default values for those that were left out.

        `token_ids` is always required. The default of `padding_mask` is 1 at tokens other than padding, of `segment_ids` 0, of
        `word_mask` and `token_mask` the padding mask.
        """
        return completed(x, self.columns)

    def trunk(self, x: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        return self.sharing.trunk(x, training=training)

    def branch(self, task: str, shared: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        return _branch(self.sharing, self.readouts, task, shared, training)

    def head_of(self, task: str) -> Head:
        return self.heads[task]

    def parts(self) -> dict[str, Part]:
        """Return the layers that have weights, each with the tasks that depend on it; the same names in `subset`."""
        readouts = {f"readout/{task}": Part(layer, (task,)) for task, layer in self.readouts.items()}
        return {**self.sharing.parts(), **readouts, **{f"head/{task}": Part(head, (task,)) for task, head in self.heads.items()}}

    def penalty(self) -> Any:
        return sum(penalty.value() for penalty in self._penalties) if self._penalties else None

    def export(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Export an artifact that takes token ids, as in Keras. The outputs of a task with several are named `TASK/NAME`.

        `mtl.export.exporting.export` writes an artifact that takes texts.
        """
        keras.Model(self.input, flat_outputs(self.output), name=self.name).export(filepath, *args, **kwargs)

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        check_process()
        return super().__call__(self.complete(inputs), *args, **kwargs)

    def get_layer(self, name: str | None = None, index: int | None = None) -> keras.layers.Layer:
        """Return the layer with a name or index, as in Keras, or the head of the task with that name."""
        if index is None and name in self.heads and all(layer.name != name for layer in self.layers):
            return self.heads[name]
        return super().get_layer(name, index)

    # Use ----------------------------------------------------------------------------------------------------------

    @checked
    def predict_text(
        self, texts: Any, tasks: str | Iterable[str] | None = None, batch_size: Count = 32
    ) -> dict[str, list[dict[str, Any]]]:
        """Return decoded predictions for texts.

        Args:
            texts: a list whose items are a text, a pair `(text, text)`, a list of words, or a record `{"text": ..., "pair": ...}`
                with or without `pair`; or one text, pair or record.
            tasks: names of the tasks to predict; no other heads are run. By default all tasks that predict.
            batch_size: texts per batch.

        Returns:
            Task -> one dict per text, as returned by the `decode` of the task's head.

        Raises:
            ValueError: an unknown task, or an encoder without a tokenizer.
            TypeError: an item is not a text.
        """
        return self.predict_examples(to_examples(texts), tasks, batch_size)

    @checked
    def predict_examples(
        self, examples: Sequence[Example], tasks: str | Iterable[str] | None = None, batch_size: Count = 32
    ) -> dict[str, list[dict[str, Any]]]:
        """Return decoded predictions as `predict_text` does, for `mtl.data.Example`s; their words are kept."""
        check_process()
        heads = {name: self.heads[name] for name in self._chosen(tasks)}
        return predict_examples(examples, self.encoder, heads, self.columns, self._functions.get(self, list(heads)), batch_size)

    @checked
    def report(
        self,
        split: str = "test",
        tasks: str | Iterable[str] | None = None,
        batch_size: Count = 64,
        sources: Mapping[str, Source] | None = None,
        limit: Count | None = None,
        seed: Size = 0,
    ) -> dict[str, dict[str, float]]:
        """Return each task's metrics over a whole split, computed from decoded predictions.

        Args:
            split: a split of the tasks' sources.
            tasks: names of tasks; by default all that predict and have the split.
            batch_size: texts per batch.
            sources: task -> a source to use in place of the task's own.
            limit: maximum number of examples per task, a random sample that is the same in each call; None for all.
            seed: seed of the sample.

        Returns:
            Task -> metric -> value, with the number of `examples` and, if any labels were left out as `unknown`, their number.

        Raises:
            ValueError: an unknown task, a task without a source, a split that none of the sources has, or one without labels.
        """
        result = {}
        named = {task.name: task for task in self.tasks}
        given = dict(sources or {})
        for name in self._chosen(given) if given else ():
            old = named[name]
            named[name] = Task(name, old.head, given[name], old.label, old.source_label)
        chosen = {name: named[name] for name in self._chosen(tasks)}
        without = [name for name, task in chosen.items() if not task.sources]
        if without and (tasks is not None or len(without) == len(chosen)):
            raise ValueError(
                f"report expects tasks with sources; got '{without[0]}' without one, as the tasks of a loaded model are. "
                f"Give sources={{'{without[0]}': mtl.data.csv(...)}}."
            )
        splits = {name for task in chosen.values() for source in task.sources for name in source.splits}
        if split not in splits:
            raise unknown_name("split", split, splits)
        for name, task in chosen.items():
            labelled = sample(task.labelled(split), limit, seed)
            if labelled:
                examples = [example for example, _ in labelled]
                predicted = self.predict_examples(examples, [name], batch_size)[name]
                metrics = task.head.report([value for _, value in labelled], predicted, examples)
                result[name] = {**metrics, "examples": len(labelled)}
        if not result:
            raise ValueError(f"No example of the split '{split}' is labelled for the tasks {list(chosen)}. Choose another split.")
        return result

    @checked
    def subset(self, tasks: Iterable[str]) -> "MultiTaskModel":
        """Return a model of some of the tasks, with the same predictions and a copy of the weights.

        It has the penalties that are about at least one of its parts.

        Args:
            tasks: names of the tasks to keep.
        """
        names = self._chosen(tasks, predicting=False)
        # A copy through the configuration shares nothing. The configuration has no sources, so they are copied afterwards.
        config = self.get_config()
        config["tasks"] = [task for task in config["tasks"] if task["config"]["name"] in names]
        config["encoder"] = keras.saving.serialize_keras_object(self.sharing.encoder_of(names[0]))
        config["sharing"] = keras.saving.serialize_keras_object(self.sharing.subset(names))
        config["balancer"] = keras.saving.serialize_keras_object(self.balancer.subset(names))
        parts = self.parts()
        kept = {name for name, part in parts.items() if not set(names).isdisjoint(part.tasks)}
        penalties = [penalty for penalty in self.penalties if not penalty.chosen or not kept.isdisjoint(penalty.chosen)]
        config["penalties"] = [keras.saving.serialize_keras_object(penalty) for penalty in penalties]
        config.pop("name", None)
        model = type(self).from_config(config)
        for mine, copy in zip([t for t in self.tasks if t.name in names], model.tasks, strict=True):
            copy.sources = mine.sources
        for name, part in model.parts().items():
            part.layer.set_weights(parts[name].layer.get_weights())
        for penalty, copy in zip(penalties, model.penalties, strict=True):
            copy.carry(penalty)
        return model

    @checked
    def add_task(self, task: Task) -> "MultiTaskModel":
        """Return a model with one more task, on the same encoder and heads; the other tasks' predictions do not change.

        Compile the new model to train it. If `sharing` gives each task an encoder, that of the new task starts as a copy.

        Args:
            task: a task with a new name.
        """
        encoder = self.sharing.encoder_of(self.task_names[0])
        balancer = self.balancer.subset(self.task_names)  # A copy: the new model binds it to the new tasks.
        model = type(self)(encoder, [*self.tasks, task], self.sharing, balancer, self.gradients_at, self.penalties)
        for name, part in self.parts().items():
            if (layer := model.parts()[name].layer) is not part.layer:
                layer.set_weights(part.layer.get_weights())
        return model

    @checked
    def export_text(self, path: str | os.PathLike, tasks: str | Iterable[str] | None = None) -> Path:
        """Write a SavedModel that takes texts and returns labels and scores; see `mtl.export.export`.

        Args:
            path: the folder to write. An earlier export is replaced once the new one is complete.
            tasks: names of the tasks to export; all that predict by default.
        """
        return export(self, path, tasks)

    def _chosen(self, tasks: Iterable[str] | None, predicting: bool = True) -> list[str]:
        if tasks is None:
            names = [task.name for task in self.tasks if task.head.predicts]
            if predicting and not names:
                raise ValueError(
                    f"Expected a task that predicts; those of the model, {list(self.task_names)}, serve training only."
                )
            return names
        wanted = [tasks] if isinstance(tasks, str) else list(tasks)
        for name in wanted:
            if name not in self.task_names:
                raise unknown_name("task", name, self.task_names)
            if predicting and not self.heads[name].predicts:
                raise ValueError(f"Task '{name}' serves training only and makes no prediction. Leave it out.")
        if not wanted:
            raise ValueError(f"Expected at least one of the tasks {list(self.task_names)}; got none.")
        return [name for name in self.task_names if name in wanted]

    # Saving -------------------------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "encoder": serialize(self.encoder),
            "tasks": [serialize(task) for task in self.tasks],
            "sharing": serialize(self.sharing),
            "balancer": serialize(self.balancer),
            "gradients_at": self.gradients_at,
            "penalties": [serialize(penalty) for penalty in self.penalties],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "MultiTaskModel":
        check_config(config, cls.__name__)
        kinds = {"encoder": keras.Model, "sharing": Sharing, "balancer": Balancer}
        parts = {key: _restored(config.get(key), kind, key, custom_objects) for key, kind in kinds.items()}
        for key, kind in {"tasks": Task, "penalties": Penalty}.items():
            parts[key] = [_restored(item, kind, key, custom_objects) for item in config.get(key) or ()]
        return cls(**{**config, **parts})


def _branch(
    sharing: Sharing, readouts: Mapping[str, Any], task: str, shared: Any, training: bool | None = None
) -> dict[str, Any]:
    """Return a task's features, as its head reads them."""
    features = sharing.branch(task, shared, training=training)
    if task in readouts:
        return readouts[task](features)
    return {name: value for name, value in features.items() if name != "states"}


def _restored(config: Any, kind: type, name: str, custom_objects: Any) -> Any:
    """Return a part of a model, created from its configuration."""
    part = keras.saving.deserialize_keras_object(config, custom_objects)
    if not isinstance(part, kind):
        raise ValueError(f"The configuration of a MultiTaskModel holds its {name}; got {brief(part)}.")
    return part
