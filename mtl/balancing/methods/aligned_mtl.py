"""Gradients transformed to be orthogonal and of equal length."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from mtl.balancing.balancer import Balancer, check_range, values_by_task
from mtl.balancing.solvers.gramian import Gramian
from mtl.balancing.solvers.quadratic import stationary
from mtl.balancing.solvers.simplex import portion
from mtl.utils import unknown_name
from mtl.utils.arguments import checked

__all__ = ["AlignedMTL"]

SCALES = ("min", "median", "rmse")


@keras.saving.register_keras_serializable("mtl")
class AlignedMTL(Balancer):
    """Alignment of the gradients' principal components: `w = sqrt(l) V L^{-1/2} V^T p`, from `G = V L V^T`.

    Eigenvalues of 0, as for two parallel gradients, are left out. At a stationary point the smallest eigenvalue is 0, and
    with `"min"` so is the direction; with the other scales it is not, and may raise a loss.

    Args:
        scale: `l`, the smallest eigenvalue (`"min"`), the median (`"median"`, the lower one of two), or the mean (`"rmse"`, as
            the square root of it is the root mean square of the singular values of J).
        preferences: task -> share, 1 for tasks not named; they are scaled to sum to 1 over the active tasks.

    Example:

    >>> import numpy as np, mtl
    >>> mtl.balancing.AlignedMTL().weights(np.array([[18.0, -22.0], [-22.0, 38.0]])).numpy().round(5).tolist()
    [0.55907, 0.40826]

    Reference:
        Senushkin, Patakin, Kuznetsov and Konushin, "Independent Component Alignment for Multi-Task Learning", CVPR 2023.
    """

    needs = "gramian"
    by_task = ("preferences",)

    @checked
    def __init__(self, scale: str = "min", preferences: Mapping[str, float] | None = None):
        if scale not in SCALES:
            raise unknown_name("scale of AlignedMTL", scale, SCALES)
        self.scale, self.preferences = scale, dict(preferences or {})
        for task, value in self.preferences.items():
            check_range(self, f"preferences['{task}']", value, 0.0)

    def _solve(self, gramian: Gramian, losses: Any) -> Any:
        count = gramian.matrix.shape[0]
        values, vectors = tf.linalg.eigh(gramian.matrix / gramian.size)
        largest = tf.reduce_max(values)

        def look() -> tuple[Any, Any]:
            """Return the number of eigenvalues that are 0, judged by the cosines: short gradients have small ones too."""
            spectrum = gramian.spectrum
            nulls = tf.math.count_nonzero(spectrum[0] == 0, dtype=tf.int32)
            return nulls + tf.math.count_nonzero(~gramian.nonzero, dtype=tf.int32), stationary(gramian, *spectrum)

        full = values[0] > gramian.tolerance * largest
        lost, still = tf.cond(full, lambda: (tf.constant(0), tf.constant(False)), look)
        kept = tf.range(count) >= lost  # Eigenvalues come in rising order.
        values = tf.maximum(values, 1e-15 * largest)
        if self.scale == "rmse":
            size = tf.math.divide_no_nan(tf.reduce_sum(tf.where(kept, values, 0)), tf.cast(count - lost, tf.float64))
        else:
            size = values[tf.minimum(lost + ((count - lost - 1) // 2 if self.scale == "median" else 0), count - 1)]
        if self.scale == "min":
            size = tf.where(still, tf.zeros_like(size), size)
        roots = tf.where(kept, tf.sqrt(tf.math.divide_no_nan(size, values)), 0)
        shares, _ = portion(values_by_task(self.tasks, self.preferences, 1.0, tf.float64), gramian.active)
        return tf.linalg.matvec(vectors * roots[None, :], tf.linalg.matvec(vectors, shares, transpose_a=True))
