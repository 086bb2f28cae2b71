"""Random weights."""

from typing import Any

import keras
import tensorflow as tf

from mtl.balancing.balancer import Balancer, check_whole
from mtl.balancing.solvers.rng import Rng
from mtl.balancing.solvers.simplex import softmax
from mtl.utils.arguments import checked

__all__ = ["RLW"]


@keras.saving.register_keras_serializable("mtl")
class RLW(Balancer):
    """Random loss weighting: `w = softmax(z)` with new `z ~ N(0, I)` in every step. Outside training, all weights are equal.

    Args:
        seed: seed of the random draws.

    Example:

    >>> import mtl
    >>> balancer = mtl.balancing.RLW(seed=1)
    >>> round(float(balancer.combine([3.0, 3.0, 3.0])), 5)
    3.0

    Reference:
        Lin, Ye, Zhang and Tsang, "Reasonable Effectiveness of Random Weighting: A Litmus Test for Multi-Task Learning", TMLR
        2022.
    """

    @checked
    def __init__(self, seed: int = 0):
        self.seed = check_whole(self, "seed", seed)

    def _make_state(self, count: int) -> None:
        self._rng = Rng(self.state, self.seed)

    def _combine(self, losses: Any, active: Any, training: bool) -> Any:
        logits = tf.zeros_like(losses)
        if training:
            logits = tf.cast(tf.random.stateless_normal([len(self.tasks)], self._rng.next(self._keep)), losses.dtype)
        weights = softmax(logits, active)
        if training:
            self._show(weights, active)
        return tf.reduce_sum(weights * losses)
