"""Gradients of a lookup table, such as an embedding, in the rows that a batch reads."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

__all__ = ["RowGradients"]


class RowGradients(NamedTuple):
    """Rows of the gradients of a table `[V, d]`, one gradient for each of K tasks; all other rows are 0.

    A batch reads few rows of an embedding, and each task fewer, so storing and comparing the gradients of many tasks is
    cheap.

    Args:
        values: float32 `[n, d]`.
        positions: int64 `[n]`, the index of the task times V, plus the row.

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
        """Return the row gradients of a gradient that a tape returned for a table, with each row once."""
        if gradient is None:
            return cls(tf.zeros([0, table.shape[1]]), tf.zeros([0], tf.int64))
        if not isinstance(gradient, tf.IndexedSlices):
            return cls(tf.cast(gradient, tf.float32), tf.range(table.shape[0], dtype=tf.int64))
        rows, index = tf.unique(tf.cast(gradient.indices, tf.int64))
        values = tf.math.unsorted_segment_sum(tf.cast(gradient.values, tf.float32), index, tf.size(rows))
        # Indices beyond the table, where GPUs read zeros and CPUs raise an error, have no gradient.
        last = table.shape[0] - 1
        return cls(tf.where((rows <= last)[:, None], values, 0.0), tf.minimum(rows, last))

    @classmethod
    def joined(cls, parts: Sequence["RowGradients"]) -> "RowGradients":
        """Return the concatenation of several; entries with the same position represent their sum."""
        return cls(*(tf.concat(field, axis=0) for field in zip(*parts, strict=True)))

    @classmethod
    def arrays(cls, turns: Any, table: Any) -> "RowGradients":
        """Return tensor arrays for row gradients, one entry per iteration."""
        # An array without an entry cannot be read, and there may be no iteration, so an empty entry follows the last.
        arrays = [
            tf.TensorArray(empty.dtype, turns + 1, infer_shape=False, element_shape=[None, *empty.shape[1:]]).write(turns, empty)
            for empty in cls.of(None, table)
        ]
        return cls(*arrays)

    def write(self, turn: Any, entry: "RowGradients") -> "RowGradients":
        """Return these arrays with an entry written."""
        return RowGradients(self.values.write(turn, entry.values), self.positions.write(turn, entry.positions))

    def read(self) -> "RowGradients":
        """Return the concatenation of the entries of these arrays."""
        return RowGradients(self.values.concat(), self.positions.concat())

    def of_task(self, task: Any, length: int) -> "RowGradients":
        """Return this gradient as that of a task, given its index; `length` is V."""
        return self._replace(positions=self.positions + length * tf.cast(task, tf.int64))

    def dense(self, count: int, length: int) -> tf.Tensor:
        """Return dense gradients of `count` tasks, `[K, V * d]`."""
        values = tf.math.unsorted_segment_sum(self.values, self.positions, count * length)
        return tf.reshape(values, [count, length * self.values.shape[1]])

    def compact(self, count: int, length: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Return gradients of `count` tasks in the U rows that any task has, `[K, U * d]`, and their indices, `[U]`."""
        rows, index = tf.unique(self.positions % length)
        size = tf.size(rows)
        tasks = tf.cast(self.positions // length, tf.int32)
        values = tf.math.unsorted_segment_sum(self.values, tasks * size + index, count * size)
        return tf.reshape(values, [count, size * self.values.shape[1]]), rows
