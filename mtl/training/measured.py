"""The tasks' gradients of some rows, and what a balancer makes of them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from mtl.training.scoring import Totals

__all__ = ["ByTask", "Measured", "SharedRows", "Step", "update_of"]

#: Task -> gradients of some variables.
ByTask = dict[str, list[tf.Tensor]]

#: Of each shared variable the tasks' gradients, `[K, n]`, and of a table which of its rows they are of, `[U]`.
SharedRows = list[tuple[tf.Tensor, tf.Tensor | None]]


class Step(NamedTuple):
    """What a balancer makes of a batch, or of a window of batches.

    Args:
        gradients: of the trained variables, of all rows, times the optimizer's scale; None where nothing reaches one.
        totals: those of the rows.
        conflicts: the products of the tasks' gradients `[K, K]`, those with the update `[K]`, and the squared norm of the
            update, float32; None for a balancer of losses.
    """

    gradients: list[Any]
    totals: Totals
    conflicts: tuple[tf.Tensor, tf.Tensor, tf.Tensor] | None


class Measured(NamedTuple):
    """The tasks' gradients before a balancer has seen them, over all replicas.

    Args:
        rows: of the batch, or of each of its halves, what is compared: as in `Found`, of losses over `sizes`.
        shared: of the batch, or of each of its halves, the gradients of the shared variables; kept for a window of batches.
        own: task -> gradients of the variables that it alone reaches, of losses over the sums of `sizes`.
        sizes: the sums of the tasks' weights `[K]` of the batch, or of each of its halves, before the heads count them.
        totals: those of the batch.
        update: weights `[K]` of the rows -> the gradients of the shared variables.
        gramian: the products of the rows, where they are of features; else None.
        of_penalty: by id, the variables' gradients of the penalty.
    """

    rows: list[list[tf.Tensor]]
    shared: list[SharedRows]
    own: ByTask
    sizes: list[tf.Tensor]
    totals: Totals
    update: Callable[[tf.Tensor], list[Any]]
    gramian: tf.Tensor | None
    of_penalty: dict[int, tf.Tensor]

    def gradients(self, tasks: Sequence[str]) -> tuple[list[int], list[tf.Tensor]]:
        """All gradients, and of each the number of the task that it belongs to, K where several do."""
        found = [(len(tasks), rows) for half in self.shared for rows, _ in half]
        found += [(list(tasks).index(task), gradient) for task, of_task in self.own.items() for gradient in of_task]
        return [owner for owner, _ in found], [gradient for _, gradient in found]


def update_of(
    variables: Sequence[keras.Variable], rows: Sequence[tf.Tensor], taken: Sequence[tf.Tensor | None] | None = None
) -> Callable[[tf.Tensor], list[Any]]:
    """Weights `[K]` -> the weighted sums of the variables' gradients; of a table, of those in the rows `taken`."""

    def whole(each: tf.Tensor, variable: keras.Variable, which: tf.Tensor | None) -> tf.Tensor:
        if which is None:
            return tf.reshape(each, variable.shape)
        return tf.math.unsorted_segment_sum(tf.reshape(each, [-1, variable.shape[1]]), which, variable.shape[0])

    def update(weights: tf.Tensor) -> list[Any]:
        sums = [tf.linalg.matvec(row, weights, transpose_a=True) for row in rows]
        return [whole(*each) for each in zip(sums, variables, taken or [None] * len(sums), strict=True)]

    return update
