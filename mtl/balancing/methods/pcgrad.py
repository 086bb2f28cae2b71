"""Gradients without their conflicting components."""

from typing import Any

import keras
import tensorflow as tf

from mtl.balancing.balancer import Balancer, check_whole
from mtl.balancing.solvers.gradient_projection import project_conflicts
from mtl.balancing.solvers.gramian import Gramian
from mtl.balancing.solvers.rng import Rng
from mtl.utils.arguments import checked

__all__ = ["PCGrad"]


@keras.saving.register_keras_serializable("mtl")
class PCGrad(Balancer):
    """Projecting conflicting gradients: each gradient loses its components that oppose the others, in a random order.

    For every task i, over the others j: where `g_i' g_j < 0`, `g_i' <- g_i' - (g_i' g_j / g_j g_j) g_j`. Then `d = sum_i g_i'`.

    Args:
        seed: seed of the random orders.

    Example:

    >>> import numpy as np, mtl
    >>> mtl.balancing.PCGrad(seed=0).weights(np.array([[18.0, -22.0], [-22.0, 38.0]])).numpy().round(5).tolist()
    [2.22222, 1.57895]

    Reference:
        Yu, Kumar, Gupta, Levine, Hausman and Finn, "Gradient Surgery for Multi-Task Learning", NeurIPS 2020.
    """

    needs = "gramian"

    @checked
    def __init__(self, seed: int = 0):
        self.seed = check_whole(self, "seed", seed)

    def _make_state(self, count: int) -> None:
        self._rng = Rng(self.state, self.seed)

    def _solve(self, gramian: Gramian, losses: Any) -> Any:
        def project(cosine: Any, length: Any, other: Any, target: Any) -> Any:
            return tf.where(cosine < 0, -cosine * length / other, tf.zeros_like(cosine))

        weights, _ = project_conflicts(gramian, tf.zeros_like(gramian.matrix), self._rng.next(self._keep), project, 0.0)
        return weights
