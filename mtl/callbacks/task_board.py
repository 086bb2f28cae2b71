"""Losses, metrics, gradients and examples of the tasks in TensorBoard."""

import errno
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from mtl.callbacks.confusion_image import condense, confusion_image, tag_confusion
from mtl.callbacks.event_files import event_files, foreign_projector, suffix_of
from mtl.callbacks.formatting import example_text, gold_text, markdown_table, prediction_text
from mtl.callbacks.projector import pooled_features, write_projector
from mtl.callbacks.validation_rows import validation_rows
from mtl.data.example import Example
from mtl.heads.tagging import Tagging
from mtl.metrics.confusion_matrix import ConfusionMatrix
from mtl.model import MultiTaskModel
from mtl.predicting import Text, to_example
from mtl.task import Task
from mtl.training.keras_internals.optimizer_internals import iterations_of, unscaled
from mtl.utils.arguments import checked
from mtl.utils.matrix_image import drawable, matrix_image
from mtl.utils.one_line import one_line
from mtl.utils.types import Count, Size

__all__ = ["TaskBoard"]

#: Names below `gradients/`, and the corresponding keys of `Conflicts`.
_COMPARED = (("norm", "norms"), ("update", "update"))


class TaskBoard(keras.callbacks.Callback):
    """Callback that shows the training of a `MultiTaskModel` in TensorBoard: `tensorboard --logdir LOG_DIR`.

    Training and validation are two runs, `train` and `validation`, with the same tags, over the number of optimizer steps:

    - `loss`, and for each task with labelled rows `TASK/loss` and `TASK/METRIC`;
    - `learning_rate` (with several optimizers `learning_rate/NAME`) and `balancer/weight/TASK`;
    - `sampling/TASK`, the share of the epoch's rows that were labelled for the task, and `padding`, the share of its tokens that
      were padding, both counted by the training step;
    - with a gradient balancer, as means over the epoch: `gradients/norm/TASK`; `gradients/conflicting`, the share of pairs of
      tasks whose gradients had a cosine below 0; `gradients/update/TASK`, the cosine between the update and the task's gradient,
      below 0 where the update increases its loss; and `gradients/cosines`, those between the tasks, as an image;
    - `examples`: a table of predictions and labels;
    - `TASK/confusion`: the confusion matrix of classes, or of types of tags, in the validation data;
    - the projector: pooled features of validation examples, at the end of training.

    Examples, confusion of tags and projector need an encoder with a tokenizer. Under `tf.distribute` only the chief writes. List
    callbacks that restore other weights at the end, such as `BestModel`, before this one.

    Args:
        log_dir: the folder of the event files; other trainings may write to the same one.
        update_freq: `"epoch"`, or a number of steps after which losses and metrics so far in the epoch are written too; training
            then waits for them.
        examples: texts, pairs, lists of words or `mtl.data.Example`s to predict; or a number of examples from the beginning of
            each task's validation split.
        every: epochs between two tables of examples, and between two confusion matrices.
        sample: number of validation examples per task for the projector and the confusion of tags; 0 for neither.

    Raises:
        ValueError: a number out of its range, or texts to predict and an encoder without a tokenizer.
        TypeError: the model is not a `MultiTaskModel`.
        OSError: (in training) the disk is full.

    Example:

    >>> import numpy as np, mtl
    >>> encoder = mtl.encoders.Recurrent(vocabulary_size=9, embedding=4, units=4)
    >>> model = mtl.MultiTaskModel(encoder, mtl.Task("mood", mtl.heads.Classification(2)))
    >>> model.compile("adam")
    >>> x, y = np.ones((4, 6), "int32"), np.zeros(4, "int32")
    >>> history = model.fit(x, y, validation_data=(x, y), callbacks=[mtl.callbacks.TaskBoard("logs")], verbose=0)
    >>> import os; sorted(os.listdir("logs"))
    ['train', 'validation']
    """

    model: MultiTaskModel

    @checked
    def __init__(
        self,
        log_dir: str | os.PathLike,
        *,
        update_freq: Literal["epoch"] | Count = "epoch",
        examples: Size | Sequence[Text | Example] = 5,
        every: Count = 1,
        sample: Size = 500,
    ):
        super().__init__()
        self.log_dir = Path(log_dir)
        self.update_freq = update_freq
        self.examples = examples
        self.every = every
        self.sample = sample
        # Keras need not wait for each step's logs if they are only read at the end of epochs.
        self.async_safe = update_freq == "epoch"
        self._writers: dict[str, Any] = {}
        self._training = uuid.uuid4().hex[:8]
        self._epoch: int | None = None
        self._seen: tuple[dict[str, float], float] | None = None
        self._compared: dict[str, np.ndarray] | None = None
        self._prepared = False

    def set_model(self, model: Any) -> None:
        if not isinstance(model, MultiTaskModel):
            raise TypeError(
                f"TaskBoard expects a mtl.MultiTaskModel; got {type(model).__name__}: use keras.callbacks.TensorBoard."
            )
        super().set_model(model)
        self._writes = bool(model.distribute_strategy.extended.should_save_summary)

    # Events -------------------------------------------------------------------------------------------------------

    def on_train_begin(self, logs: Any = None) -> None:
        self._epoch, self._begin, self._written, self._training = None, 0, 0, uuid.uuid4().hex[:8]
        if not isinstance(self.examples, int) and self.model.encoder.tokenizer is None:
            raise ValueError(
                "TaskBoard cannot predict texts: the encoder has no tokenizer. Leave `examples` out, or give it one."
            )
        if self._writes:
            self._prepare()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch, self._seen, self._compared = epoch, None, None
        self._begin = self._written = self._step()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        if isinstance(self.update_freq, str) or not self._writes:
            return
        step = self._begin + batch + 1
        if step // self.update_freq > self._written // self.update_freq:
            self._written = step
            self._scalars("train", {**self._losses(logs or {}), **self._settings()}, step)

    def on_test_begin(self, logs: Any = None) -> None:
        if self._epoch is not None:
            # The values of the training: evaluation resets them after this.
            self._seen, self._compared = self.model.task_losses.realised(), self.model.conflicts.read()

    def on_test_end(self, logs: Mapping[str, Any] | None = None) -> None:
        if not self._writes:
            return
        self._scalars("validation", self._losses(logs or {}))
        if self._due():
            self._confusions()
        if self._epoch is None:
            self._close()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        shares, padding = self._seen or self.model.task_losses.realised()
        compared = self._compared or self.model.conflicts.read()
        if self._writes:
            logs = logs or {}
            train = {name: value for name, value in logs.items() if not (name.startswith("val_") and name[4:] in logs)}
            sampling = {"padding": padding, **{f"sampling/{task}": share for task, share in shares.items()}}
            self._scalars("train", {**self._losses(train), **self._settings(), **sampling, **self._gradients(compared)})
            if self._due():
                self._predictions()
                self._tag_confusions()
            self._flush()
        self._epoch = None

    def on_train_end(self, logs: Any = None) -> None:
        if self._writes:
            self._project()
            self._close()

    # State for `Checkpoint` ---------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return the progress of the training and the sizes of the event files."""
        self._flush()
        sizes = {path.relative_to(self.log_dir).as_posix(): path.stat().st_size for path in self._event_files()}
        return {"training": self._training, "epoch": self._epoch, "begin": self._begin, "written": self._written, "sizes": sizes}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a result of `state`; points written after it are cut off, as they will be written again."""
        self._training = state["training"]
        self._epoch, self._begin, self._written = state["epoch"], state["begin"], state["written"]
        for name, size in state["sizes"].items() if self._writes else ():
            if not (path := self.log_dir / name).exists() or path.stat().st_size < size:
                raise ValueError(
                    f"The training's points until here were in '{path}', which is gone or cut. Bring it back, or delete the "
                    "checkpoints to begin anew."
                )
        for path in self._event_files() if self._writes else ():
            size = state["sizes"].get(path.relative_to(self.log_dir).as_posix(), 0)
            if size:
                os.truncate(path, size)
            else:
                path.unlink()

    def _event_files(self) -> list[Path]:
        return event_files(self.log_dir, self._training)

    def _due(self) -> bool:
        return self._epoch is None or (self._epoch + 1) % self.every == 0

    # Numbers ------------------------------------------------------------------------------------------------------

    def _losses(self, logs: Mapping[str, Any]) -> dict[str, float]:
        """Return tag -> value for the logs of Keras, without NaN, the value of a loss or metric without rows."""
        result = {}
        for name, value in logs.items():
            if np.isnan(value := float(value)):
                continue
            owners = [task for task in self.model.task_names if name.startswith(f"{task}_")]
            owner = max(owners, key=len, default=None)
            if owner is None:
                result[name] = value
            else:
                result[f"{owner}/{name.removeprefix(f'{owner}_')}"] = value
        return result

    def _settings(self) -> dict[str, float]:
        optimizer = unscaled(self.model.optimizer)
        several = [part for part in getattr(optimizer, "optimizers", ()) if part.built]
        names = [part.name for part in several]
        numbered = [name if names.count(name) == 1 else f"{name}_{i}" for i, name in enumerate(names)]
        rates = zip(numbered, several, strict=True) if several else [("", optimizer)]
        result = {f"learning_rate/{name}".rstrip("/"): float(tf.convert_to_tensor(part.learning_rate)) for name, part in rates}
        weights = self.model.balancer.current_weights()
        return {**result, **{f"balancer/weight/{task}": float(weight) for task, weight in weights.items()}}

    def _gradients(self, compared: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Return tag -> value for the compared gradients, and write the image of the cosines."""
        cosines, tasks = compared["cosines"], self.model.task_names
        if not np.isfinite(cosines).any():
            return {}
        if self._due() and len(tasks) > 1:
            texts = [[f"{value:.2f}" if np.isfinite(value) else "" for value in row] for row in cosines]
            with self._writer("train"):
                image = matrix_image(cosines, texts, tasks, colormap="RdBu", low=-1.0)
                tf.summary.image("gradients/cosines", image[None])
        values = {f"gradients/{name}/{task}": compared[key][i] for name, key in _COMPARED for i, task in enumerate(tasks)}
        values["gradients/conflicting"] = compared["conflicting"]
        return {tag: float(value) for tag, value in values.items() if np.isfinite(value)}

    def _scalars(self, run: str, values: Mapping[str, float], step: int | None = None) -> None:
        with self._writer(run, step):
            for tag, value in values.items():
                tf.summary.scalar(tag, value)

    # Examples and pictures ----------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Choose the examples to show, once."""
        if self._prepared:
            return
        self._prepared = True
        readable = self.model.encoder.tokenizer is not None
        tasks = [task for task in self.model.tasks if task.head.predicts and readable]
        self._sample = validation_rows(tasks, self.sample)
        if self._sample and (other := foreign_projector(self.log_dir / "validation")):
            raise FileExistsError(f"TaskBoard's projector takes the place of '{other}', which mtl did not write. Move it away.")
        if isinstance(self.examples, int):
            self._shown = validation_rows(tasks, self.examples, first=True)
        else:
            given = [text if isinstance(text, Example) else to_example(text, i) for i, text in enumerate(self.examples)]
            self._shown = [(example, _labels(example, tasks)) for example in given]

    def _predictions(self) -> None:
        if not self._shown:
            return
        predicted = self.model.predict_examples([example for example, _ in self._shown])
        lines = []
        for i, (example, gold) in enumerate(self._shown):
            text = example_text(example)
            for task in [task for task in predicted if task in gold or not gold]:
                label = gold_text(gold[task], example, self.model.heads[task]) if task in gold else ""
                lines.append([text, task, prediction_text(predicted[task][i]), label])
        with self._writer("validation"):
            tf.summary.text("examples", markdown_table(["text", "task", "predicted", "gold"], lines))

    def _confusions(self) -> None:
        """Write the confusion of classes, from the metrics' state, which covers the whole validation data."""
        for task, metrics in self.model.task_metrics.items():
            for metric in metrics.values():
                if isinstance(metric, ConfusionMatrix):
                    matrix, labels = keras.ops.convert_to_numpy(metric.total), self.model.heads[task].labels
                    self._picture(task, matrix, [str(label) for label in labels or ()])

    def _tag_confusions(self) -> None:
        """Write the confusion of types of tags, from predictions on a sample."""
        for task, head in self.model.heads.items():
            rows = [(example, labels[task]) for example, labels in self._sample if task in labels]
            if isinstance(head, Tagging) and rows:
                examples, gold = [example for example, _ in rows], [value for _, value in rows]
                predicted = self.model.predict_examples(examples, [task])[task]
                self._picture(task, *tag_confusion(head, gold, predicted, examples))

    def _picture(self, task: str, matrix: np.ndarray, labels: Sequence[str]) -> None:
        if not matrix.any():
            return
        matrix, labels = condense(matrix, labels, most=40)
        with self._writer("validation"):
            tf.summary.image(f"{task}/confusion", confusion_image(matrix, labels)[None])
            if not drawable(labels):
                lines = [[str(number), one_line(label)] for number, label in enumerate(labels)]
                tf.summary.text(f"{task}/confusion_labels", markdown_table(["number", "label"], lines))

    def _project(self) -> None:
        if not self._sample:
            return
        examples = [example for example, _ in self._sample]
        columns = {"text": [example_text(example, 100) for example in examples]}
        for task, head in self.model.heads.items():
            if any(task in labels for _, labels in self._sample):
                columns[task] = [gold_text(v[task], e, head) if task in v else "" for e, v in self._sample]
        with self._writer("validation"):  # The projector reads only folders that are runs.
            tf.summary.text("projector", f"{len(examples)} validation examples")
        write_projector(self.log_dir / "validation", pooled_features(self.model, examples), columns)

    # Files --------------------------------------------------------------------------------------------------------

    def _step(self) -> int:
        return int(iterations_of(self.model.optimizer).numpy())

    def _writer(self, run: str, step: int | None = None) -> Any:
        if run not in self._writers:
            suffix = suffix_of(self._training)
            self._writers[run] = tf.summary.create_file_writer(str(self.log_dir / run), filename_suffix=suffix)
        return self._writers[run].as_default(self._step() if step is None else step)

    def _flush(self) -> None:
        """Write pending points, and check the disk, as TensorFlow does not report a failure to write."""
        for writer in self._writers.values():
            writer.flush()
        if self._writers and shutil.disk_usage(self.log_dir).free == 0:
            said = "The disk is full, and points for TensorBoard are lost; free some space and start again"
            raise OSError(errno.ENOSPC, said, str(self.log_dir))

    def _close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()


def _labels(example: Example, tasks: Sequence[Task]) -> dict[str, Any]:
    """Return an example's labels by task, for labels with the name of a task."""
    named = {task.name: example.labels.get(task.label or task.name) for task in tasks}
    return {task: value for task, value in named.items() if value is not None}
