"""Records of the tasks' gradients, before and after a balancer combines them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from mtl.training.scoring import Totals

__all__ = ["ByTask", "Measured", "SharedRows", "Step", "weighted_update"]

#: Task -> gradients of some variables.
ByTask = dict[str, list[tf.Tensor]]

#: One entry per shared variable: the tasks' gradients, `[K, n]`, and, for a lookup table, the indices of their rows, `[U]`.
SharedRows = list[tuple[tf.Tensor, tf.Tensor | None]]


class Step(NamedTuple):
    """Update of a batch, or of a window of batches.

    Args:
        gradients: gradients of the trained variables, over all rows, times the optimizer's scale, or None.
        totals: totals of the rows.
        conflicts: the products of the tasks' gradients `[K, K]`, those with the update `[K]`, and the squared norm of the
            update, float32; None for a loss balancer.
    """

    gradients: list[Any]
    totals: Totals
    conflicts: tuple[tf.Tensor, tf.Tensor, tf.Tensor] | None


class Measured(NamedTuple):
    """The tasks' gradients, over all replicas, before a balancer combines them.

    Args:
        compared: compared gradients of the batch, or of each of its halves, of losses divided by `weight_sums`.
        shared: gradients of the shared variables, of the batch or of each of its halves; kept for a window of batches.
        task_specific: task -> gradients of the variables that it alone depends on, of losses over the sums of `weight_sums`.
        weight_sums: sums of the tasks' weights `[K]`, of the batch or of each of its halves, before the heads normalize them.
        totals: totals of the batch.
        update: weights `[K]` of the tasks -> the gradients of the shared variables.
        gramian: inner products of the compared gradients, if these are gradients of features; else None.
        of_penalty: id of a variable -> its gradient of the penalty.
    """

    compared: list[list[tf.Tensor]]
    shared: list[SharedRows]
    task_specific: ByTask
    weight_sums: list[tf.Tensor]
    totals: Totals
    update: Callable[[tf.Tensor], list[Any]]
    gramian: tf.Tensor | None
    of_penalty: dict[int, tf.Tensor]

    def gradients(self, tasks: Sequence[str]) -> tuple[list[int], list[tf.Tensor]]:
        """Return all gradients, and for each the index of its task, K for several tasks."""
        owned = [(len(tasks), rows) for half in self.shared for rows, _ in half]
        owned += [(list(tasks).index(task), gradient) for task, of_task in self.task_specific.items() for gradient in of_task]
        return [owner for owner, _ in owned], [gradient for _, gradient in owned]


def weighted_update(
    variables: Sequence[keras.Variable], rows: Sequence[tf.Tensor], taken: Sequence[tf.Tensor | None] | None = None
) -> Callable[[tf.Tensor], list[Any]]:
    """Return a function: weights `[K]` -> the weighted sums of the variables' gradients; of a table, in the rows `taken`."""

    def shaped(gradient: tf.Tensor, variable: keras.Variable, table_rows: tf.Tensor | None) -> tf.Tensor:
        if table_rows is None:
            return tf.reshape(gradient, variable.shape)
        return tf.math.unsorted_segment_sum(tf.reshape(gradient, [-1, variable.shape[1]]), table_rows, variable.shape[0])

    def update(weights: tf.Tensor) -> list[Any]:
        sums = [tf.linalg.matvec(row, weights, transpose_a=True) for row in rows]
        return [shaped(*entry) for entry in zip(sums, variables, taken or [None] * len(sums), strict=True)]

    return update
