"""Short combination of the gradients, near their mean, from two batches."""

from typing import Any

import keras
import tensorflow as tf

from mtl.balancing.balancer import Balancer, check_range, check_whole
from mtl.balancing.solvers.gramian import Gramian
from mtl.balancing.solvers.simplex import portion, project
from mtl.utils.arguments import checked

__all__ = ["SDMGrad"]


@keras.saving.register_keras_serializable("mtl")
class SDMGrad(Balancer):
    """Stochastic direction-oriented gradient: `d = J^T (w + lambda b) / (1 + lambda)`, `b_t = 1 / K`.

    The weights minimise `||J^T (w + lambda b)||^2` over the simplex, from `1 / K`, by projected steps
    `w <- P(w - rate / m J_1 J_2^T (w + lambda b))`. `J_1` and `J_2` come from independent batches, so that the steps are
    unbiased; `m` is the mean size of the diagonal of `J_1 J_2^T`. `weights` takes `J_1 J_2^T`, `aggregate` both as
    `[2, K, P]` or only one; the direction combines the mean of both. The sum of the active tasks' weights is kept.

    Args:
        pull: `lambda`, the strength of the pull towards the mean gradient.
        learning_rate: learning rate of the weights.
        steps: number of steps of the weights per training step.

    Example:

    >>> import numpy as np, mtl
    >>> balancer = mtl.balancing.SDMGrad(pull=0.0, steps=1)
    >>> balancer.weights(np.array([[3.0, 0.0], [0.0, 1.0]])).numpy().round(5).tolist()  # 0.5 - 0.1 / 2 (1.5, 0.5), projected
    [0.475, 0.525]

    Reference:
        Xiao, Ban and Ji, "Direction-oriented Multi-objective Learning: Simple and Provable Stochastic Algorithms", NeurIPS 2023.
    """

    needs = "gramian"
    batches = 2

    @checked
    def __init__(self, pull: float = 0.3, learning_rate: float = 0.1, steps: int = 20):
        self.pull = check_range(self, "pull", pull, 0.0)
        self.learning_rate = check_range(self, "learning_rate", learning_rate, 0.0)
        self.steps = check_whole(self, "steps", steps, 1)

    def _make_state(self, count: int) -> None:
        self._learned = self.state.add("learned_weights", [count], 1.0 / count)

    def _solve(self, gramian: Gramian, losses: Any) -> Any:
        size = tf.reduce_sum(gramian.share * tf.abs(tf.linalg.diag_part(gramian.matrix)))
        matrix = tf.math.divide_no_nan(gramian.matrix, size)
        mean = self.pull * gramian.share
        learned = tf.cast(tf.identity(tf.convert_to_tensor(self._learned)), tf.float64)
        weights, sum_before = portion(learned, gramian.active)

        def step(turn: Any, weights: Any) -> Any:
            slope = tf.linalg.matvec(matrix, weights + mean)
            return turn + 1, project(weights - self.learning_rate * slope, gramian.active)

        _, weights = tf.while_loop(lambda turn, _: turn < self.steps, step, (0, weights))
        self._keep(self._learned, tf.where(gramian.active, sum_before * weights, learned))
        return (weights + mean) / (1.0 + self.pull)
