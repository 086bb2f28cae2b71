"""Gramian of the tasks' gradients, and quantities derived from it."""

from typing import Any

import tensorflow as tf

__all__ = ["Gramian", "definite", "gramian_of"]


def gramian_of(jacobian: Any) -> Any:
    """Return `J J^T`, `[K, K]`, for gradients `[K, P]`."""
    return tf.matmul(jacobian, jacobian, transpose_b=True)


class Gramian:
    """The Gramian `G = J J^T` of the active tasks' gradients, in float64.

    Rows and columns of tasks that are not active are 0.

    Args:
        matrix: float64 `[K, K]`.
        active: bool `[K]`.
        tolerance: error bound of an eigenvalue, relative to the largest one.
    """

    def __init__(self, matrix: Any, active: Any, tolerance: float):
        self.matrix, self.active, self.tolerance = matrix, active, tolerance
        self.mask = tf.cast(active, tf.float64)
        self.count = tf.reduce_sum(self.mask)
        #: 1 / n for each of the n active tasks.
        self.share = tf.math.divide_no_nan(self.mask, self.count)
        squares = tf.maximum(tf.linalg.diag_part(matrix), 0.0)
        #: The gradients' norms and their reciprocals, 0 for a gradient of 0.
        self.norms = tf.sqrt(squares)
        self.inverse_norms = tf.math.divide_no_nan(tf.ones_like(squares), self.norms)
        self.nonzero = self.norms > 0

    @classmethod
    def of(cls, matrix: Any, active: Any) -> tuple["Gramian", Any]:
        """Create a Gramian from any float matrix; also return whether that is finite. A non-finite matrix is replaced."""
        count = matrix.shape[0] or active.shape[0]
        matrix = tf.ensure_shape(matrix, [count, count])
        # Entries of a float32 Gramian are off by about one unit in the last place; in float64 the solvers need some margin.
        tolerance = max(2 * count**0.5 * _epsilon(matrix.dtype), 1e-12)
        matrix = tf.cast(tf.stop_gradient(matrix), tf.float64)
        matrix = tf.where(active[:, None] & active[None, :], matrix, tf.zeros_like(matrix))
        finite = tf.reduce_all(tf.math.is_finite(matrix))
        return cls(tf.where(finite, matrix, tf.eye(count, dtype=tf.float64)), active, tolerance), finite

    @property
    def cosines(self) -> Any:
        """Cosines between the gradients; a gradient of 0 is orthogonal to all others."""
        cosines = self.matrix * self.inverse_norms[:, None] * self.inverse_norms[None, :]
        return tf.linalg.set_diag(tf.clip_by_value(cosines, -1.0, 1.0), tf.ones_like(self.norms))

    @property
    def spectrum(self) -> tuple[Any, Any]:
        """Eigenvalues of the cosines, ascending, 0 within the tolerance, and the eigenvectors as columns."""
        values, vectors = tf.linalg.eigh(self.cosines)
        return tf.where(values > self.tolerance * values[-1], values, tf.zeros_like(values)), vectors

    @property
    def size(self) -> Any:
        """Largest squared norm, or 1 where all gradients are 0."""
        largest = tf.reduce_max(tf.linalg.diag_part(self.matrix))
        return tf.where(largest > 0, largest, tf.ones_like(largest))

    def scaled(self, factors: Any) -> "Gramian":
        """Return the Gramian of the gradients times `factors`, `[K]`."""
        return Gramian(self.matrix * factors[:, None] * factors[None, :], self.active, self.tolerance)

    def regularised(self, share: float) -> "Gramian":
        """Return the Gramian with `share` of its trace added to the diagonal entries of the active tasks."""
        added = share * tf.linalg.trace(self.matrix) * self.mask
        return Gramian(self.matrix + tf.linalg.diag(added), self.active, self.tolerance)


def definite(matrix: Any, tolerance: float) -> Any:
    """Return the symmetric matrix `[K, K]` with its eigenvalues raised to at least `tolerance` times the largest one."""
    values, vectors = tf.linalg.eigh(matrix)
    values = tf.maximum(values, tolerance * tf.reduce_max(values))
    return tf.matmul(vectors * values[None, :], vectors, transpose_b=True)


def _epsilon(dtype: Any) -> float:
    return 1.2e-7 if dtype == tf.float32 else 2.3e-16
