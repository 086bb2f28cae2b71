"""Scores of a batch: each task's sums of losses and weights, and the statistics of its metrics."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from mtl.training.protocols import TrainableHead, TrainableModel
from mtl.training.replicas import by_replica, replicas, sum_over_replicas
from mtl.utils.texts import refuse_texts

__all__ = ["Batch", "Scores", "Totals", "joined", "penalty", "score", "total"]


class Batch(NamedTuple):
    """Rows of any task.

    Args:
        x: the model's inputs.
        y: task -> targets, for the tasks that the batch has targets for, in the model's order.
        weights: task -> weights, float32 `[B]` per row, `[B, S]` per token or `[B, C]` per class.
    """

    x: dict[str, Any]
    y: dict[str, Any]
    weights: dict[str, tf.Tensor]

    @classmethod
    def of(cls, model: TrainableModel, data: Any) -> "Batch":
        """Return the batch of a step's data, with inputs and weights that were left out filled in."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        refuse_texts(x, y)
        x = model.complete(x)
        targets, given = _by_task(model, y, "targets"), _by_task(model, sample_weight, "sample weights")
        y = {task: targets[task] for task in model.task_names if task in targets}
        if not y:
            raise ValueError(f"The batch has no targets for the tasks {list(model.task_names)}. Give them as a dict by task.")
        mask = tf.cast(x["padding_mask"], tf.float32)
        weights = {task: _weight(model.head_of(task), given.get(task), mask) for task in y}
        return cls(x, y, {task: model.head_of(task).given(y[task], weight) for task, weight in weights.items()})

    def labelled(self) -> dict[str, tf.Tensor]:
        """Return task -> whether each row has a label for it, bool `[B]`; rows whose weight is NaN count."""
        some = {task: (weight > 0) | tf.math.is_nan(weight) for task, weight in self.weights.items()}
        return {task: tf.reduce_any(mine, axis=list(range(1, mine.shape.rank))) for task, mine in some.items()}

    def take(self, rows: Any, tasks: Sequence[str]) -> "Batch":
        """Return some of the rows, given by their positions `[n]`, with the targets and weights of some of the tasks."""
        parts = self.x, {task: self.y[task] for task in tasks}, {task: self.weights[task] for task in tasks}
        return Batch(*keras.tree.map_structure(lambda value: tf.gather(value, rows), parts))


class Scores(NamedTuple):
    """Losses, weights and statistics of some rows, by task.

    Args:
        losses: task -> the weighted sum of its losses.
        weights: task -> the sum of its weights.
        statistics: task -> the statistics of its metrics, in order.
    """

    losses: dict[str, tf.Tensor]
    weights: dict[str, tf.Tensor]
    statistics: dict[str, list[tf.Tensor]]


class Totals(NamedTuple):
    """Sums over the rows of all replicas.

    Args:
        losses: each task's weighted sum of losses, `[K]`.
        weights: each task's sum of weights, `[K]`.
        penalty: sum of the terms added to the tasks' losses.
        counts: the rows labelled for each task, all rows, all tokens, and all positions for tokens, `[K + 3]`.
        statistics: as in `Scores`; those that are not sums have an additional first axis, one entry per replica.
    """

    losses: tf.Tensor
    weights: tf.Tensor
    penalty: tf.Tensor
    counts: tf.Tensor
    statistics: dict[str, list[tf.Tensor]]

    @property
    def means(self) -> tf.Tensor:
        """Return the tasks' losses, `[K]`; 0 for a task without a labelled row."""
        return tf.math.divide_no_nan(self.losses, self.weights)

    @property
    def active(self) -> tf.Tensor:
        """Return whether each task has a labelled row, bool `[K]`."""
        return self.weights > 0

    def where(self, counted: tf.Tensor) -> "Totals":
        """Return these totals if `counted`, else zeros."""
        return keras.tree.map_structure(lambda value: tf.where(counted, value, tf.zeros_like(value)), self)


def score(model: TrainableModel, batch: Batch, training: bool, shared: Mapping[str, Any] | None = None) -> Scores:
    """Run the branches and heads on a batch, and the trunk unless its outputs are given as `shared`."""
    shared = model.trunk(batch.x, training) if shared is None else shared
    scores = Scores({}, {}, {})
    for task, target in batch.y.items():
        weight, features = batch.weights[task], model.branch(task, shared, training)
        loss, weights, outputs = model.head_of(task).score(target, weight, features, training=training)
        scores.losses[task], scores.weights[task] = tf.cast(loss, tf.float32), tf.cast(weights, tf.float32)
        scores.statistics[task] = [
            tf.ensure_shape(tf.cast(metric.statistics(target, outputs, weight, features), tf.float32), metric.total.shape)
            for metric in model.task_metrics[task].values()
        ]
    return scores


def joined(model: TrainableModel, parts: Sequence[Scores]) -> Scores:
    """Return the scores of a batch, given those of its parts."""
    losses, weights = ({task: tf.add_n([part[i][task] for part in parts]) for task in parts[0][i]} for i in (0, 1))
    statistics: dict[str, list[tf.Tensor]] = {}
    for task, of_task in parts[0].statistics.items():
        statistics[task] = []
        for i, metric in enumerate(model.task_metrics[task].values()):
            values = tf.stack([part.statistics[task][i] for part in parts])
            whole = tf.reduce_sum(values, axis=0) if metric.additive else metric.merge(tf.cast(values, tf.float64))
            statistics[task].append(tf.cast(whole, of_task[i].dtype))
    return Scores(losses, weights, statistics)


def penalty(model: TrainableModel) -> tf.Tensor:
    """Return this replica's part of the model's penalties and the layers' regularization losses."""
    terms = [tf.cast(term, tf.float32) for term in (model.penalty(), *model.losses) if term is not None]
    return tf.add_n(terms) / replicas() if terms else tf.constant(0.0)


def total(model: TrainableModel, batch: Batch, scores: Scores, added: tf.Tensor) -> Totals:
    """Return the sums over the replicas' scores and penalties."""
    labelled, mask = batch.labelled(), batch.x["padding_mask"]
    zero = tf.constant(0.0)

    def by_task(values: Mapping[str, Any]) -> tf.Tensor:
        return tf.stack([tf.cast(values[task], tf.float32) if task in values else zero for task in model.task_names])

    rows = by_task({task: tf.math.count_nonzero(row_mask) for task, row_mask in labelled.items()})
    sizes = tf.stack([tf.cast(size, tf.float32) for size in (tf.shape(mask)[0], tf.math.count_nonzero(mask), tf.size(mask))])
    statistics = {
        task: [
            value if metric.additive else by_replica(value)
            for value, metric in zip(values, model.task_metrics[task].values(), strict=True)
        ]
        for task, values in scores.statistics.items()
    }
    parts = Totals(by_task(scores.losses), by_task(scores.weights), added, tf.concat([rows, sizes], 0), statistics)
    flat = [tf.stop_gradient(part) for part in keras.tree.flatten(parts)]
    return keras.tree.pack_sequence_as(parts, sum_over_replicas(flat))


def _by_task(model: TrainableModel, value: Any, what: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        if len(model.task_names) > 1:
            raise ValueError(f"A model of several tasks expects {what} as a dict by task; got {type(value).__name__}.")
        return {model.task_names[0]: value}
    for name in value:
        if name not in model.task_names:
            raise ValueError(f"Got {what} for '{name}', which is no task of the model: {list(model.task_names)}.")
    return {name: array for name, array in value.items() if array is not None}


def _weight(head: TrainableHead, weight: Any, mask: tf.Tensor) -> tf.Tensor:
    """Return the weights of a task's targets, along their axes, or one per row; those of padding are 0.

    Args:
        weight: the weights in the batch, or None.
        mask: 1 for the tokens of each row, float32 `[B, S]`.

    Raises:
        ValueError: there are no weights, and the mask does not determine the lengths of the targets' axes.
    """
    axes = head.target.weight_axes
    if weight is None:
        if axes not in ((), ("tokens",)):
            raise ValueError(
                f"Targets of the axes {list(axes)} come with sample weights of these axes, 0 where there is no label; got none. "
                "Give sample_weight."
            )
        return mask if axes else tf.ones(tf.shape(mask)[:1])
    weight = tf.cast(weight, tf.float32)
    if axes == ("tokens",):
        return (weight[:, None] if weight.shape.rank == 1 else weight) * mask
    by_class = weight.shape.rank == 2 and head.target.axes == (weight.shape[1],)
    return weight if axes or by_class else tf.reshape(weight, tf.shape(mask)[:1])
