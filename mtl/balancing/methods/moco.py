"""Shortest convex combination of tracked gradients."""

from typing import Any

import keras
import tensorflow as tf

from mtl.balancing.balancer import Balancer, check_range
from mtl.balancing.solvers.gramian import gramian_of
from mtl.balancing.solvers.simplex import portion, project
from mtl.utils.arguments import checked

__all__ = ["MoCo"]


@keras.saving.register_keras_serializable("mtl")
class MoCo(Balancer):
    """Multi-objective gradient with correction: MGDA's weights by small steps, on gradients tracked over batches.

    `Y <- Y + beta (J - Y)`, from 0; `w <- P(w - gamma (Y Y^T + rho I) w)`, from `1 / K`, where P projects on the simplex;
    `d = Y^T w`. The sum of the active tasks' weights is kept.

    Args:
        beta: the weight of a new gradient in the tracked one.
        gamma: step size of the weights.
        rho: regularisation towards equal weights.

    Example:

    >>> import numpy as np, mtl
    >>> balancer = mtl.balancing.MoCo(beta=1.0)
    >>> balancer.aggregate(np.array([[2.0, 0.0], [0.0, 1.0]])).numpy().round(5).tolist()  # w = (0.3, 0.45), projected
    [0.85, 0.575]

    Reference:
        Fernando, Shen, Liu, Chaudhury, Murugesan and Chen, "Mitigating Gradient Bias in Multi-objective Learning: A Provably
        Convergent Approach", ICLR 2023. The authors' code has a softmax in place of the projection.
    """

    needs = "jacobian"
    tracks_gradients = True

    @checked
    def __init__(self, beta: float = 0.5, gamma: float = 0.1, rho: float = 0.0):
        self.beta = check_range(self, "beta", beta, 0.0, 1.0, open="(")
        self.gamma = check_range(self, "gamma", gamma, 0.0)
        self.rho = check_range(self, "rho", rho, 0.0)

    def _make_state(self, count: int) -> None:
        self._tracked = self.state.add("gradients", [count, self.size])
        self._learned = self.state.add("learned_weights", [count], 1.0 / count)

    def _mix(self, jacobian: Any, active: Any, losses: Any) -> tuple[Any, Any]:
        dtype = jacobian.dtype
        old = tf.cast(tf.convert_to_tensor(self._tracked), dtype)
        tracked = tf.where(active[:, None], old + self.beta * (jacobian - old), old)
        self._keep(self._tracked, tracked)
        all_weights = tf.cast(tf.identity(tf.convert_to_tensor(self._learned)), dtype)
        weights, sum_before = portion(all_weights, active)
        weights = project(weights - self.gamma * (tf.linalg.matvec(gramian_of(tracked), weights) + self.rho * weights), active)
        self._keep(self._learned, tf.where(active, sum_before * weights, all_weights))
        return weights, tracked
