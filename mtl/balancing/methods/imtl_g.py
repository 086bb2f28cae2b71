"""Direction with equal projections on all gradients."""

from typing import Any

import keras
import tensorflow as tf

from mtl.balancing.balancer import Balancer
from mtl.balancing.solvers.gramian import Gramian

__all__ = ["IMTLG", "impartial"]


@keras.saving.register_keras_serializable("mtl")
class IMTLG(Balancer):
    """Impartial multi-task learning, the part for gradients: `sum w = 1`, and `d u_t` is the same for all unit gradients `u_t`.

    For two tasks `w = (||g_2||, ||g_1||) / (||g_1|| + ||g_2||)` at every angle; for more, where the gradients are linearly
    independent, `w = v / sum v`, `v_t = (C^-1 1)_t / ||g_t||` with their cosines C. Weights may be negative, and are 0 where
    `sum v` is. At a stationary point, and wherever no other direction has equal projections on all gradients, the direction is 0.

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
    """Return the weights of IMTL-G, float64 `[K]`.

    With unit gradients, of Gramian C, and `x_t = w_t ||g_t||`, the projections are `C x`: they are equal for `x = C^+ 1`. Where a
    combination of unit gradients with a nonzero sum of weights is 0, only the direction 0 has equal projections on all; the
    result is then the shortest x with `C x = 0`. Parallel gradients are not such a case, since `1` is in the range of C.
    """
    values, vectors = gramian.spectrum
    inverse = gramian.inverse_norms * tf.sqrt(gramian.size)
    ones = tf.linalg.matvec(vectors, tf.cast(gramian.nonzero, tf.float64), transpose_a=True)
    lost = tf.where(values > 0, tf.zeros_like(ones), ones)
    # For a unit eigenvector a, `C a = s a` with s cut off, the rest is the sum of `(1 a)^2`. At a stationary point a >= 0, and
    # `(sum a)^2 >= sum a^2 = 1`. Where `1 = C x` has a solution, `1 a = s x a`, and the rest is at most `(s |x|)^2` with
    # s <= K t for the tolerance t: it reaches `sqrt(t)` only for `|x| > t^-0.75 / K`, of which no digit would be right.
    vanishing = tf.reduce_sum(lost**2) > gramian.tolerance**0.5
    still = tf.where(values > 0, tf.zeros_like(ones), tf.linalg.matvec(vectors, inverse, transpose_a=True))
    x = tf.linalg.matvec(vectors, tf.where(vanishing, still, tf.math.divide_no_nan(ones, values)))
    weights = x * inverse
    total = tf.reduce_sum(weights)
    significant = tf.abs(total) > gramian.tolerance * tf.reduce_sum(tf.abs(weights))
    return tf.where(significant, tf.math.divide_no_nan(weights, total), tf.zeros_like(weights))
