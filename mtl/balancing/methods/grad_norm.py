"""Weights that equalise the norms of the gradients."""

from typing import Any

import keras
import tensorflow as tf

from mtl.balancing.balancer import Balancer, check_range
from mtl.balancing.solvers.adam import Adam
from mtl.balancing.solvers.gramian import Gramian
from mtl.utils.arguments import checked

__all__ = ["GradNorm"]


@keras.saving.register_keras_serializable("mtl")
class GradNorm(Balancer):
    """Gradient normalisation: weights learned by `min_w sum_t |w_t ||g_t|| - m r_t^alpha|`, then scaled to `sum_t w_t = K`.

    `m` is the mean of `w_t ||g_t||`; `r_t` is the task's loss divided by its first loss, divided by the mean of that ratio over
    the tasks: how slowly the task learns relative to the others. Both are treated as constants; Adam makes one step after each
    update. The sum of the active tasks' weights is kept. Only the diagonal of the Gramian is used.

    Args:
        alpha: strength with which slow tasks gain weight.
        learning_rate: learning rate of the weights.

    Example:

    >>> import numpy as np, mtl
    >>> balancer = mtl.balancing.GradNorm()
    >>> gramian, losses = np.array([[100.0, 0.0], [0.0, 1.0]]), [1.0, 1.0]
    >>> [balancer.weights(gramian, losses=losses).numpy().round(3).tolist() for step in range(2)]
    [[1.0, 1.0], [0.975, 1.025]]

    Reference:
        Chen, Badrinarayanan, Lee and Rabinovich, "GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep Multitask
        Networks", ICML 2018.
    """

    needs = "gramian"
    uses_losses = True

    @checked
    def __init__(self, alpha: float = 1.5, learning_rate: float = 0.025):
        self.alpha = check_range(self, "alpha", alpha, 0.0)
        self.learning_rate = check_range(self, "learning_rate", learning_rate, 0.0)

    def _make_state(self, count: int) -> None:
        self._learned = self.state.add("learned_weights", [count], 1.0)
        self._first, self._seen = self.state.add("first_losses", [count]), self.state.add("seen", [count])
        self._adam = Adam(self.state, count, self.learning_rate)

    def _solve(self, gramian: Gramian, losses: Any) -> Any:
        active = gramian.active
        weights = tf.cast(tf.identity(tf.convert_to_tensor(self._learned)), tf.float64)
        seen = tf.identity(tf.convert_to_tensor(self._seen)) > 0
        first = tf.where(seen, tf.cast(tf.convert_to_tensor(self._first), tf.float64), losses)
        rates = tf.where(active, tf.maximum(tf.math.divide_no_nan(losses, first), 0.0), 0)
        rates = tf.math.divide_no_nan(rates, tf.reduce_sum(gramian.share * rates))
        sizes = weights * gramian.norms
        targets = tf.reduce_sum(gramian.share * sizes) * rates**self.alpha
        moved = self._adam.step(self._keep, weights, tf.sign(sizes - targets) * gramian.norms, active)
        moved = tf.where(active, tf.maximum(moved, 1e-6), 0)
        moved *= tf.math.divide_no_nan(tf.reduce_sum(gramian.mask * weights), tf.reduce_sum(moved))
        self._keep(self._learned, tf.where(active, moved, weights))
        self._keep(self._first, tf.where(active, first, tf.cast(tf.convert_to_tensor(self._first), tf.float64)))
        self._keep(self._seen, tf.cast(seen | active, tf.float32))
        return weights
