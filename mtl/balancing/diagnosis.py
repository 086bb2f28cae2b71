"""Comparison of a model's tasks: their gradients, and the effect of one task's step on the other losses."""

import itertools
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from mtl.balancing.balancer import Balancer
from mtl.balancing.grouping import group_tasks
from mtl.utils.arguments import checked
from mtl.utils.atomic_write import atomic_write
from mtl.utils.matrix_image import matrix_image
from mtl.utils.types import Count, Positive

__all__ = ["DiagnosableModel", "Diagnosis", "diagnose"]


class SharedGradients(Protocol):
    """Protocol for the gradients of tasks; `mtl.training.gradients.task_gradients.TaskGradients` implements it.

    Attributes:
        shared: the trained variables that two or more tasks share.
    """

    shared: list[keras.Variable]

    def jacobian(self, data: Any) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor]: ...
    def losses(self, data: Any) -> tuple[tf.Tensor, tf.Tensor]: ...


class DiagnosableModel(Protocol):
    """Protocol for the models that `diagnose` accepts; `mtl.MultiTaskModel` implements it."""

    task_names: tuple[str, ...]
    balancer: Balancer

    def task_gradients(self) -> SharedGradients: ...


@dataclass(frozen=True)
class Diagnosis:
    """Result of `diagnose`: means over batches, NaN for a task or pair of tasks that never occurred.

    Args:
        tasks: the names of the K tasks.
        losses: `[K]`.
        norms: norms of the gradients with respect to the shared variables, `[K]`.
        cosines: cosines between the gradients, `[K, K]`.
        conflicting: the share of batches in which the cosine was below 0, `[K, K]`.
        update: the cosines between the balancer's update and each gradient, `[K]`.
        affinities: relative decrease of the loss of task j after a step of task i, `[i, j]`.
        groups: groups of tasks that the affinities suggest.

    Example:

    >>> import numpy as np
    >>> one, two = np.array([1.0]), np.array([[1.0]])
    >>> print(Diagnosis(("mood",), one, one, two, 0 * two, one, 0.25 * two, (("mood",),)))
    task  loss  gradient  update  cos mood  helps mood
    mood     1         1    1.00      1.00     +25.00%
    groups: mood
    """

    tasks: tuple[str, ...]
    losses: np.ndarray
    norms: np.ndarray
    cosines: np.ndarray
    conflicting: np.ndarray
    update: np.ndarray
    affinities: np.ndarray
    groups: tuple[tuple[str, ...], ...]

    def as_dict(self) -> dict[str, Any]:
        """Return all fields as a dict that JSON accepts, with None for NaN."""
        return {
            name: _plain(
                value.tolist() if isinstance(value, np.ndarray) else [list(e) if isinstance(e, tuple) else e for e in value]
            )
            for name, value in vars(self).items()
        }

    def table(self) -> str:
        """Return a text table with one row per task."""
        lines = [["task", "loss", "gradient", "update", *(f"cos {t}" for t in self.tasks), *(f"helps {t}" for t in self.tasks)]]
        for i, task in enumerate(self.tasks):
            numbers = [_text(self.losses[i], ".4g"), _text(self.norms[i], ".3g"), _text(self.update[i], ".2f")]
            cosines = [_text(value, ".2f") for value in self.cosines[i]]
            lines.append([task, *numbers, *cosines, *(_text(value, "+.2%") for value in self.affinities[i])])
        widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
        rows = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
        return "\n".join([*rows, "groups: " + "; ".join(" + ".join(group) for group in self.groups)])

    __str__ = table

    def picture(self) -> np.ndarray:
        """Return an image of the cosines beside the affinities, uint8 `[height, width, 3]`."""
        most = float(np.nanmax(np.abs(self.affinities), initial=1e-9))
        cosines = matrix_image(
            self.cosines, _texts(self.cosines, ".2f"), self.tasks, colormap="RdBu", low=-1.0, columns="cosine between gradients"
        )
        affinities = matrix_image(
            self.affinities,
            _texts(self.affinities, "+.1%"),
            self.tasks,
            colormap="RdBu",
            low=-most,
            high=most,
            rows="a step of",
            columns="lowers the loss of",
        )
        return np.concatenate([cosines, affinities], axis=1)

    def save_picture(self, path: str | os.PathLike) -> None:
        """Write the picture to a PNG file atomically."""
        from matplotlib.image import imsave

        with atomic_write(path) as beside:
            imsave(beside, self.picture(), format="png")


@checked
def diagnose(
    model: DiagnosableModel,
    dataset: Iterable[Any],
    *,
    batches: Count = 8,
    learning_rate: Positive = 0.1,
    groups: Count | None = None,
) -> Diagnosis:
    """Compare the gradients of a model's tasks and measure the effect of each task's step on all losses.

    The affinity of task i to task j is `1 - L_j(theta - learning_rate g_i) / L_j(theta)`, where `theta` are the variables that
    tasks share and `g_i` is the gradient of task i. Dropout is off. The suggested groups maximise the sum of the affinities
    between tasks of one group; a task alone counts 0. The update comes from a new balancer of the model's class. The model is
    left unchanged.

    Args:
        model: a `MultiTaskModel`, compiled or not.
        dataset: batches as `fit` takes them, such as the result of `mtl.data.mix`.
        batches: number of batches to use.
        learning_rate: learning rate of the trial steps, which are plain gradient descent.
        groups: maximal number of groups; None for any number.

    Returns:
        A `Diagnosis`, which prints as a table.

    Raises:
        ValueError: no batch, fewer than two tasks, tasks that share no trained variable, or a number out of its range.

    Example:

    >>> import numpy as np, mtl
    >>> encoder = mtl.encoders.Recurrent(vocabulary_size=9, embedding=4, units=4)
    >>> tasks = [mtl.Task("mood", mtl.heads.Classification(2)), mtl.Task("topic", mtl.heads.Classification(3))]
    >>> batch = {"token_ids": np.ones((4, 3), "int32")}, {"mood": np.array([0, 1, 0, 0]), "topic": np.array([2, 1, 0, 2])}
    >>> found = mtl.balancing.diagnose(mtl.MultiTaskModel(encoder, tasks), [batch])
    >>> found.cosines.shape, np.diag(found.cosines).round(5).tolist()
    ((2, 2), [1.0, 1.0])

    Reference:
        Affinities: Fifty, Amid, Zhao, Yu, Anil and Finn, "Efficiently Identifying Task Groupings for Multi-Task Learning",
        NeurIPS 2021.
    """
    if isinstance(dataset, tuple):
        raise ValueError("Expected a dataset, or a list, of batches (x, y, sample_weight); got a tuple. Put one batch in a list.")
    tasks = tuple(model.task_names)
    if len(tasks) < 2:
        raise ValueError(f"Tasks are compared with one another; the model has only {list(tasks)}.")
    shared = model.task_gradients()
    jacobian, losses_of = tf.function(shared.jacobian, autograph=False), tf.function(shared.losses, autograph=False)
    variables = [variable.value for variable in shared.shared]
    if not variables:
        raise ValueError(
            f"Gradients are compared where tasks share variables; {list(tasks)} share none that is trained. "
            "Train a shared encoder."
        )
    kept = [tf.convert_to_tensor(variable).numpy() for variable in variables]
    balancer = model.balancer.subset(tasks)
    balancer.bind(tasks)
    sums = {name: [np.zeros([len(tasks)] * rank), np.zeros([len(tasks)] * rank)] for name, rank in _RANKS.items()}

    def add(name: str, value: np.ndarray, where: np.ndarray) -> None:
        where = where & np.isfinite(value)
        sums[name][0][where] += value[where]
        sums[name][1][where] += 1

    for batch in itertools.islice(dataset, int(batches)):
        data = keras.tree.map_structure(lambda value: None if value is None else tf.convert_to_tensor(value), tuple(batch))
        rows, before, active = jacobian(data)
        before, here = before.numpy(), active.numpy()
        pairs = here[:, None] & here[None, :]
        gramian = tf.add_n([tf.matmul(row, row, transpose_b=True) for row in rows])
        norms = np.sqrt(np.diag(gramian))
        with np.errstate(invalid="ignore", divide="ignore"):
            cosines = gramian.numpy() / np.outer(norms, norms)
            slopes, length = _update(balancer, rows, gramian, before, active)
            add("losses", before, here)
            add("norms", norms, here)
            add("update", slopes / norms / length, here)
            add("cosines", cosines, pairs)
            add("conflicting", (cosines < 0).astype(float), pairs)
            affinities = np.full([len(tasks)] * 2, np.nan)
            try:
                for i in np.flatnonzero(here):
                    for variable, value, row in zip(variables, kept, rows, strict=True):
                        variable.assign(value - learning_rate * tf.reshape(row[i], value.shape))
                    affinities[i] = 1.0 - losses_of(data)[0].numpy() / before
            finally:
                for variable, value in zip(variables, kept, strict=True):
                    variable.assign(value)
            add("affinities", affinities, pairs)
    if not sums["losses"][1].any():
        raise ValueError("Expected at least one batch with a labelled row to compare gradients on; got none.")
    with np.errstate(invalid="ignore"):
        means = {name: total / seen for name, (total, seen) in sums.items()}
    found = group_tasks(means["affinities"], groups)
    return Diagnosis(tasks=tasks, groups=tuple(tuple(tasks[i] for i in group) for group in found), **means)


#: Averaged quantity -> its number of axes.
_RANKS = {"losses": 1, "norms": 1, "update": 1, "cosines": 2, "conflicting": 2, "affinities": 2}


def _update(balancer: Balancer, rows: Sequence[Any], gramian: Any, losses: Any, active: Any) -> tuple[np.ndarray, float]:
    """Return the products of the gradients with the balancer's update, `[K]`, and the norm of the update."""
    if balancer.needs == "jacobian":
        flat = tf.concat(rows, axis=1)
        direction = balancer.aggregate(flat, active, losses)
        return tf.linalg.matvec(flat, direction).numpy(), float(tf.norm(direction))
    if balancer.needs == "gramian":
        weights = balancer.weights(gramian, active, losses)
    else:
        given = tf.convert_to_tensor(losses)
        with tf.GradientTape() as tape:
            tape.watch(given)
            combined = balancer.combine(given, active)
        weights = tape.gradient(combined, given)
    slopes = tf.linalg.matvec(gramian, weights)
    return slopes.numpy(), float(tf.sqrt(tf.maximum(tf.tensordot(weights, slopes, 1), 0.0)))


def _texts(matrix: np.ndarray, form: str) -> list[list[str]]:
    return [[_text(value, form, "") for value in row] for row in matrix]


def _text(value: float, form: str, nothing: str = "-") -> str:
    return format(value, form) if np.isfinite(value) else nothing


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
