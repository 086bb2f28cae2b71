"""Direction that solves a bargaining problem between the tasks."""

from typing import Any

import keras
import tensorflow as tf

from mtl.balancing.balancer import Balancer, check_range, check_whole
from mtl.balancing.solvers.bargaining import bargain
from mtl.balancing.solvers.gramian import Gramian
from mtl.utils.arguments import checked

__all__ = ["NashMTL"]


@keras.saving.register_keras_serializable("mtl")
class NashMTL(Balancer):
    """Nash's bargaining solution: `G w = 1 / w`, so that the product of the tasks' gains is largest.

    Without a cap the direction's length is `sqrt(K)` for all gradients, however short; at a stationary point, where
    the equation has no solution, the direction is 0.

    Args:
        max_norm: the direction is shortened to this length where it is longer; None for no cap.
        update_every: number of steps between updates of the weights; earlier where an active task has no weight.

    Example:

    >>> import numpy as np, mtl
    >>> balancer = mtl.balancing.NashMTL(max_norm=None)
    >>> balancer.weights(np.array([[18.0, -22.0], [-22.0, 38.0]])).numpy().round(5).tolist()
    [0.59146, 0.40707]

    Reference:
        Navon, Shamsian, Achituve, Maron, Kawaguchi, Chechik and Fetaya, "Multi-Task Learning as a Bargaining Game", ICML 2022.
        The cap is that of the authors' code, whose sequence of convex programs is replaced by one exact Newton search.
    """

    needs = "gramian"

    @checked
    def __init__(self, max_norm: float | None = 1.0, update_every: int = 1):
        self.max_norm = None if max_norm is None else check_range(self, "max_norm", max_norm, 0.0, open="(")
        self.update_every = check_whole(self, "update_every", update_every, 1)

    def _make_state(self, count: int) -> None:
        self._step = self.state.add("step", dtype="int64")
        self._kept = self.state.add("kept_weights", [count])

    def _solve(self, gramian: Gramian, losses: Any) -> Any:
        step = tf.identity(tf.convert_to_tensor(self._step))
        kept = tf.cast(tf.identity(tf.convert_to_tensor(self._kept)), tf.float64)
        if self.update_every == 1:
            weights = bargain(gramian)
        else:
            lacking = tf.reduce_any(gramian.active & gramian.nonzero & (kept == 0))
            weights = tf.cond((step % self.update_every == 0) | lacking, lambda: bargain(gramian), lambda: kept)
        self._keep(self._step, step + 1)
        self._keep(self._kept, tf.where(gramian.active, weights, kept))
        weights *= gramian.mask
        if self.max_norm is None:
            return weights
        norm = tf.sqrt(tf.maximum(tf.tensordot(weights, tf.linalg.matvec(gramian.matrix, weights), 1), 0.0))
        return weights * tf.where(
            norm > self.max_norm, self.max_norm / tf.where(norm > 0, norm, tf.ones_like(norm)), tf.ones_like(norm)
        )
