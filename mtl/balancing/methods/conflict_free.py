"""A direction at one angle to all gradients."""

from typing import Any

import keras
import tensorflow as tf

from mtl.balancing.balancer import Balancer
from mtl.balancing.solvers.gramian import Gramian, pseudo_inverse

__all__ = ["ConFIG"]


@keras.saving.register_keras_serializable("mtl")
class ConFIG(Balancer):
    """Conflict-free inverse gradients: the direction u with equal cosines to all gradients, as long as their projections on it.

    With the unit gradients `U` as rows, `u = U^+ 1 / ||U^+ 1||` and `d = (sum_t g_t u) u`; `U^+ 1 = U^T x`, `x = (U U^T)^+ 1`.

    Example:

    >>> import numpy as np, mtl
    >>> mtl.balancing.ConFIG().aggregate(np.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])).numpy().round(4).tolist()
    [0.1588, 2.0706, 2.0706]

    Reference:
        Liu, Chu and Thuerey, "ConFIG: Towards Conflict-free Training of Physics Informed Neural Networks", ICLR 2025.
    """

    needs = "gramian"

    def _solve(self, gramian: Gramian, losses: Any) -> Any:
        there = tf.cast(gramian.nonzero, tf.float64)
        cosines = gramian.cosines * there[:, None] * there[None, :]
        x = tf.linalg.matvec(pseudo_inverse(cosines, gramian.tolerance), there)
        seen = tf.linalg.matvec(cosines, x)
        length = tf.tensordot(x, seen, 1)
        size = tf.sqrt(gramian.size)
        along = tf.reduce_sum(gramian.norms / size * seen)
        factor = tf.where(length > gramian.tolerance, tf.math.divide_no_nan(along, length), tf.zeros_like(length))
        return factor * x * gramian.inverse_norms * size
