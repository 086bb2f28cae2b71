"""The tasks' gradients of a table that is looked up, as an embedding is: those of its rows that a batch has."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

__all__ = ["RowGradients"]


class RowGradients(NamedTuple):
    """Rows of the gradients of a table `[V, d]`, one gradient for each of K tasks; what is left out is 0.

    A batch touches few of the rows of an embedding, and each task fewer: this is what it costs to keep, and to compare, the
    gradients of many tasks.

    Args:
        values: float32 `[n, d]`.
        positions: of these rows in the gradients one after the other, the task's number times V and the row; int64 `[n]`.

    Example:

    >>> one = RowGradients.of(tf.IndexedSlices(tf.constant([[1.0], [2.0], [4.0]]), tf.constant([7, 3, 7])), tf.zeros([9, 1]))
    >>> one.values.numpy().tolist(), one.positions.numpy().tolist()
    ([[5.0], [2.0]], [7, 3])
    >>> gradients, rows = one.of_task(1, 9).compact(2, 9)
    >>> gradients.numpy().tolist(), rows.numpy().tolist()
    ([[0.0, 0.0], [5.0, 2.0]], [7, 3])
    """

    values: Any
    positions: Any

    @classmethod
    def of(cls, gradient: Any, table: Any) -> "RowGradients":
        """One gradient of a table, as a tape gives it: each row once."""
        if gradient is None:
            return cls(tf.zeros([0, table.shape[1]]), tf.zeros([0], tf.int64))
        if not isinstance(gradient, tf.IndexedSlices):
            return cls(tf.cast(gradient, tf.float32), tf.range(table.shape[0], dtype=tf.int64))
        rows, found = tf.unique(tf.cast(gradient.indices, tf.int64))
        values = tf.math.unsorted_segment_sum(tf.cast(gradient.values, tf.float32), found, tf.size(rows))
        # A GPU reads zeros beyond the table, where a CPU refuses to; nothing there has a gradient.
        last = table.shape[0] - 1
        return cls(tf.where((rows <= last)[:, None], values, 0.0), tf.minimum(rows, last))

    @classmethod
    def joined(cls, parts: Sequence["RowGradients"]) -> "RowGradients":
        """All of them; what stands in several counts as its sum."""
        return cls(*(tf.concat(each, axis=0) for each in zip(*parts, strict=True)))

    @classmethod
    def arrays(cls, turns: Any, table: Any) -> "RowGradients":
        """Arrays that slices are written to, one in each turn."""
        # What was never written to can't be read, and there may be no turn: nothing is written behind the last.
        arrays = [
            tf.TensorArray(each.dtype, turns + 1, infer_shape=False, element_shape=[None, *each.shape[1:]]).write(turns, each)
            for each in cls.of(None, table)
        ]
        return cls(*arrays)

    def write(self, turn: Any, each: "RowGradients") -> "RowGradients":
        """These arrays with those slices."""
        return RowGradients(self.values.write(turn, each.values), self.positions.write(turn, each.positions))

    def read(self) -> "RowGradients":
        """What was written to these arrays, joined."""
        return RowGradients(self.values.concat(), self.positions.concat())

    def of_task(self, task: Any, length: int) -> "RowGradients":
        """This gradient as that of a task, by its number; `length` is V."""
        return self._replace(positions=self.positions + length * tf.cast(task, tf.int64))

    def dense(self, count: int, length: int) -> tf.Tensor:
        """The gradients of `count` tasks whole, `[K, V * d]`."""
        values = tf.math.unsorted_segment_sum(self.values, self.positions, count * length)
        return tf.reshape(values, [count, length * self.values.shape[1]])

    def compact(self, count: int, length: int) -> tuple[tf.Tensor, tf.Tensor]:
        """The gradients of `count` tasks in the U rows of the table that any has, `[K, U * d]`, and which these are, `[U]`."""
        rows, found = tf.unique(self.positions % length)
        size = tf.size(rows)
        tasks = tf.cast(self.positions // length, tf.int32)
        values = tf.math.unsorted_segment_sum(self.values, tasks * size + found, count * size)
        return tf.reshape(values, [count, size * self.values.shape[1]]), rows
