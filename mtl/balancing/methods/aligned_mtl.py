"""Gradients turned until they are at right angles and equally long."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from mtl.balancing.balancer import Balancer, check_range, values_by_task
from mtl.balancing.solvers.gramian import Gramian
from mtl.balancing.solvers.simplex import portion
from mtl.utils import unknown_name

__all__ = ["AlignedMTL"]

SCALES = ("min", "median", "rmse")


@keras.saving.register_keras_serializable("mtl")
class AlignedMTL(Balancer):
    """Alignment of the gradients' principal components: `w = sqrt(l) V L^{-1/2} V^T p`, from `G = V L V^T`.

    Eigenvalues of 0 are left out, and those that cannot be told from 0: of float32 gradients at right angles, such as are 1,700
    times shorter than the longest.

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

    def __init__(self, scale: str = "min", preferences: Mapping[str, float] | None = None):
        if scale not in SCALES:
            raise unknown_name("scale of AlignedMTL", scale, SCALES)
        self.scale, self.preferences = scale, dict(preferences or {})
        for task, value in self.preferences.items():
            check_range(self, f"preferences['{task}']", value, 0.0)

    def _solve(self, gramian: Gramian, losses: Any) -> Any:
        values, vectors = tf.linalg.eigh(gramian.matrix / gramian.size)
        kept = values > gramian.tolerance * tf.reduce_max(values)
        rank = tf.math.count_nonzero(kept, dtype=tf.int32)
        count = gramian.matrix.shape[0]
        if self.scale == "rmse":
            size = tf.math.divide_no_nan(tf.reduce_sum(tf.where(kept, values, 0)), tf.cast(rank, tf.float64))
        else:  # Eigenvalues come in rising order, so those kept are the last ones.
            size = values[tf.minimum(count - rank + ((rank - 1) // 2 if self.scale == "median" else 0), count - 1)]
        roots = tf.where(kept, tf.sqrt(tf.maximum(size, 0.0) / tf.where(kept, values, tf.ones_like(values))), 0)
        shares, _ = portion(values_by_task(self.tasks, self.preferences, 1.0, tf.float64), gramian.active)
        return tf.linalg.matvec(vectors * roots[None, :], tf.linalg.matvec(vectors, shares, transpose_a=True))
