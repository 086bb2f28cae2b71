"""Gradients turned towards one another."""

from typing import Any

import keras
import tensorflow as tf

from mtl.balancing.balancer import Balancer, check_range, check_whole
from mtl.balancing.solvers.gradient_projection import project_conflicts
from mtl.balancing.solvers.gramian import Gramian
from mtl.balancing.solvers.rng import Rng
from mtl.utils.arguments import checked

__all__ = ["GradVac"]


@keras.saving.register_keras_serializable("mtl")
class GradVac(Balancer):
    """Gradient vaccine: as PCGrad, but gradients are turned until the cosine between them equals its moving average.

    For every task i, over the others j in a random order, with `c = cos(g_i', g_j)` and its moving average `t_ij`, from 0: where
    `c < t_ij`, `g_i' <- g_i' + ||g_i'|| (t sqrt(1 - c^2) - c sqrt(1 - t^2)) / (||g_j|| sqrt(1 - t^2)) g_j`; then
    `t_ij <- (1 - beta) t_ij + beta c`. `d = sum_i g_i'`.

    Args:
        beta: the share of a new cosine in the average.
        seed: seed of the random orders.

    Example:

    >>> import numpy as np, mtl
    >>> mtl.balancing.GradVac().weights(np.array([[18.0, -22.0], [-22.0, 38.0]])).numpy().round(5).tolist()  # at first as PCGrad
    [2.22222, 1.57895]

    Reference:
        Wang, Tsvetkov, Firat and Cao, "Gradient Vaccine: Investigating and Improving Multi-task Optimization in Massively
        Multilingual Models", ICLR 2021.
    """

    needs = "gramian"

    @checked
    def __init__(self, beta: float = 0.01, seed: int = 0):
        self.beta = check_range(self, "beta", beta, 0.0, 1.0)
        self.seed = check_whole(self, "seed", seed)

    def _make_state(self, count: int) -> None:
        self._rng = Rng(self.state, self.seed)
        self._targets = self.state.add("targets", [count, count])

    def _solve(self, gramian: Gramian, losses: Any) -> Any:
        def turn(cosine: Any, length: Any, other: Any, target: Any) -> Any:
            target = tf.clip_by_value(target, -1.0 + 1e-6, 1.0 - 1e-6)
            sine, rest = tf.sqrt(1.0 - target**2), tf.sqrt(1.0 - cosine**2)
            return tf.where(cosine < target, length * (target * rest - cosine * sine) / (other * sine), tf.zeros_like(cosine))

        targets = tf.cast(tf.identity(tf.convert_to_tensor(self._targets)), tf.float64)
        weights, moved = project_conflicts(gramian, targets, self._rng.next(self._keep), turn, self.beta)
        self._keep(self._targets, moved)
        return weights
