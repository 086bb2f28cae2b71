"""A direction that looks alike from all tasks."""

from typing import Any

import keras
import tensorflow as tf

from mtl.balancing.balancer import Balancer
from mtl.balancing.solvers.gramian import Gramian, pseudo_inverse

__all__ = ["IMTLG", "impartial"]


@keras.saving.register_keras_serializable("mtl")
class IMTLG(Balancer):
    """Impartial multi-task learning, its half for gradients: `v = G^+ sqrt(diag G)`, `w = v / sum v`.

    The direction's projection on every task's gradient is equally long. Weights may be negative; they are 0 where `sum v` is.

    Example:

    >>> import numpy as np, mtl
    >>> mtl.balancing.IMTLG().weights(np.array([[18.0, -22.0], [-22.0, 38.0]])).numpy().round(5).tolist()
    [0.59233, 0.40767]

    Reference:
        Liu, Li, Kuang, Xue, Chen, Yang, Liao and Zhang, "Towards Impartial Multi-task Learning", ICLR 2021.
    """

    needs = "gramian"

    def _solve(self, gramian: Gramian, losses: Any) -> Any:
        return impartial(gramian)


def impartial(gramian: Gramian) -> Any:
    """The weights of IMTL-G, float64 `[K]`.

    With unit gradients, of Gramian C, `v_t = (C^-1 1)_t / ||g_t||` whatever the lengths; `G^+` is for gradients that are linearly
    dependent.
    """
    cosines, size = gramian.cosines, tf.sqrt(gramian.size)
    independent = tf.reduce_min(tf.linalg.eigvalsh(cosines)) > gramian.tolerance * float(gramian.mask.shape[0])
    there = tf.cast(gramian.nonzero, tf.float64)
    of_units = tf.linalg.matvec(pseudo_inverse(cosines, gramian.tolerance), there) * gramian.inverse_norms * size
    of_all = tf.linalg.matvec(pseudo_inverse(gramian.matrix / gramian.size, gramian.tolerance), gramian.norms / size)
    weights = tf.where(independent, of_units, of_all)
    total = tf.reduce_sum(weights)
    significant = tf.abs(total) > gramian.tolerance * tf.reduce_sum(tf.abs(weights))
    return tf.where(significant, tf.math.divide_no_nan(weights, total), tf.zeros_like(weights))
