"""The tasks' gradients, each of its own rows."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from mtl.training import seam
from mtl.training.scoring import Batch, Scores, score

__all__ = ["GradientsByRows", "dense_gradients"]

#: Task -> what some rows give for it: losses, weights, statistics, gradients.
Parts = dict[str, list[tf.Tensor]]


class GradientsByRows:
    """Each task's gradients of the variables that it reaches.

    Rows that are labelled for one task alone go through the encoders with that task's others, so that no gradient costs more
    than its own rows; rows with labels for several tasks go through once, and back once for each task.

    Args:
        model: the engine.
        variables: task -> what its gradients are of.
    """

    def __init__(self, model: Any, variables: Mapping[str, Sequence[keras.Variable]]):
        self.model, self.variables = model, variables

    def of(self, batch: Batch, seeds: Mapping[str, tf.Tensor], training: bool) -> tuple[Scores, dict[str, list[tf.Tensor]]]:
        """What a batch's rows give, and each task's gradients, dense.

        Args:
            batch: this replica's rows.
            seeds: task -> what its summed losses count.
            training: whether there is dropout.
        """
        if len(batch.y) == 1 or self.model.static_shapes:  # All rows then go through all heads.
            parts = self._together(batch, seeds, training)
        else:
            with seam.equal_draws(self.model):
                parts = self._apart(batch, seeds, training)
        scores = Scores({}, {}, {})
        gradients = {}
        for task, part in parts.items():
            scores.losses[task], scores.weights[task], *rest = part
            count = len(self.model.task_metrics[task])
            scores.statistics[task], gradients[task] = rest[:count], rest[count:]
        return scores, gradients

    def _apart(self, batch: Batch, seeds: Mapping[str, tf.Tensor], training: bool) -> Parts:
        """What the rows of each task alone give, and those of several tasks."""
        labelled = batch.labelled()
        count = tf.add_n([tf.cast(each, tf.int32) for each in labelled.values()])
        parts: Parts = {}
        had: dict[str, tf.Tensor] = {}
        for task in batch.y:
            alone = labelled[task] & (count == 1)
            had[task] = tf.reduce_any(alone)
            parts |= self._of_rows(alone, batch, [task], seeds, training, {}, {})
        return self._of_rows(count > 1, batch, list(batch.y), seeds, training, parts, had)

    def _together(self, batch: Batch, seeds: Mapping[str, tf.Tensor], training: bool) -> Parts:
        """What rows give that go through the encoders once, and back once for each task."""
        with tf.GradientTape(persistent=len(batch.y) > 1) as tape:
            scores = score(self.model, batch, training)
        parts = {}
        for task in batch.y:
            gradients = dense_gradients(tape, scores.losses[task], [v.value for v in self.variables[task]], seeds[task])
            parts[task] = [scores.losses[task], scores.weights[task], *scores.statistics[task], *gradients]
        return parts

    def _of_rows(
        self,
        mask: tf.Tensor,
        batch: Batch,
        tasks: list[str],
        seeds: Mapping[str, tf.Tensor],
        training: bool,
        before: Parts,
        had: Mapping[str, tf.Tensor],
    ) -> Parts:
        """What some rows give, added to what others gave before; no work where there are none, here or before.

        Args:
            mask: which rows, bool `[B]`.
            before: what other rows gave; it is empty tensors for a task that had none.
            had: task -> whether it had rows before; where no task had, empty tensors stand for nothing.
        """
        shapes = {task: self._shapes(task) for task in tasks}

        def some() -> list[tf.Tensor]:
            found = self._together(batch.take(tf.reshape(tf.where(mask), [-1]), tasks), seeds, training)
            return [each for task in tasks for each in (found[task] if not had else both(task, found[task]))]

        def both(task: str, found: list[tf.Tensor]) -> list[tf.Tensor]:
            return tf.cond(had[task], lambda: [a + b for a, b in zip(before[task], found, strict=True)], lambda: list(found))

        def nothing(task: str) -> list[tf.Tensor]:
            if not had:
                return [tf.zeros([0]) for _ in shapes[task]]
            return tf.cond(had[task], lambda: list(before[task]), lambda: [tf.zeros(shape) for shape in shapes[task]])

        values = iter(tf.cond(tf.reduce_any(mask), some, lambda: [each for task in tasks for each in nothing(task)]))
        parts = {task: [next(values) for _ in shapes[task]] for task in tasks}
        if not had:
            return parts
        return {task: [tf.ensure_shape(v, s) for v, s in zip(parts[task], shapes[task], strict=True)] for task in tasks}

    def _shapes(self, task: str) -> list[tuple[int, ...]]:
        """Those of what rows give for a task."""
        gradients = [tuple(v.shape) for v in self.variables[task]]
        return [(), (), *(tuple(metric.total.shape) for metric in self.model.task_metrics[task].values()), *gradients]


def dense_gradients(tape: tf.GradientTape, loss: tf.Tensor, sources: Sequence[Any], seed: tf.Tensor) -> list[tf.Tensor]:
    """Gradients without slices, and 0 where there is none."""
    found = tape.gradient(loss, sources, output_gradients=seed)
    return [tf.zeros_like(v) if g is None else tf.convert_to_tensor(g) for g, v in zip(found, sources, strict=True)]
