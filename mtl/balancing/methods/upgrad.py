"""Mean of the gradients, each projected so that it harms no task."""

from typing import Any

import keras
import tensorflow as tf

from mtl.balancing.balancer import Balancer, check_range
from mtl.balancing.solvers.gramian import Gramian
from mtl.balancing.solvers.quadratic import least_above
from mtl.utils.arguments import checked

__all__ = ["UPGrad"]


@keras.saving.register_keras_serializable("mtl")
class UPGrad(Balancer):
    """Unconflicting projection: the mean of the gradients, each projected on the dual cone `J d >= 0`.

    `w = sum_t argmin_v v^T G v`, `v >= e_t / K`. At a stationary point the direction raises no loss, and is 0 if none can fall.

    Args:
        regularization: share of G's trace that is added to its diagonal; with 0 the projections are exact.

    Example:

    >>> import numpy as np, mtl
    >>> mtl.balancing.UPGrad().weights(np.array([[18.0, -22.0], [-22.0, 38.0]])).numpy().round(5).tolist()
    [1.11111, 0.78947]

    Reference:
        Quinton and Rey, "Jacobian Descent for Multi-Objective Optimization", arXiv 2024. The authors' code regularises by 1e-4.
    """

    needs = "gramian"

    @checked
    def __init__(self, regularization: float = 0.0):
        self.regularization = check_range(self, "regularization", regularization, 0.0)

    def _solve(self, gramian: Gramian, losses: Any) -> Any:
        floors = tf.linalg.diag(gramian.share)
        return tf.reduce_sum(least_above(gramian.regularised(self.regularization), floors), axis=0)
