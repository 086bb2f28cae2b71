"""Direction with equal angles to all gradients."""

from typing import Any

import keras
import tensorflow as tf

from mtl.balancing.balancer import Balancer
from mtl.balancing.solvers.gramian import Gramian
from mtl.balancing.solvers.quadratic import stationary

__all__ = ["ConFIG"]


@keras.saving.register_keras_serializable("mtl")
class ConFIG(Balancer):
    """Conflict-free inverse gradients: the direction u with equal cosines to all gradients, scaled by their projections.

    With the unit gradients `U` as rows, `u = U^+ 1 / ||U^+ 1||` and `d = (sum_t g_t u) u`; `U^+ 1 = U^T x`, `x = (U U^T)^+ 1`.
    At a stationary point the direction is 0.

    Example:

    >>> import numpy as np, mtl
    >>> mtl.balancing.ConFIG().aggregate(np.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])).numpy().round(4).tolist()
    [0.1588, 2.0706, 2.0706]

    Reference:
        Liu, Chu and Thuerey, "ConFIG: Towards Conflict-free Training of Physics Informed Neural Networks", ICLR 2025.
    """

    needs = "gramian"

    def _solve(self, gramian: Gramian, losses: Any) -> Any:
        values, vectors = gramian.spectrum
        # At a stationary point the eigenvalue of 0 counts as the smallest one distinguishable from 0, so the direction is 0.
        floor = tf.where(stationary(gramian, values, vectors), gramian.tolerance * values[-1], 0.0)
        inverse = tf.math.divide_no_nan(tf.ones_like(values), tf.maximum(values, floor))
        ones = tf.linalg.matvec(vectors, tf.cast(gramian.nonzero, tf.float64), transpose_a=True)
        x = tf.linalg.matvec(vectors, inverse * ones)
        seen = tf.linalg.matvec(vectors, tf.where(inverse > 0, ones, tf.zeros_like(ones)))
        size = tf.sqrt(gramian.size)
        along = tf.reduce_sum(gramian.norms / size * seen)
        return tf.math.divide_no_nan(along, tf.reduce_sum(inverse * ones**2)) * x * gramian.inverse_norms * size
