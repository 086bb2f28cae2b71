"""Weights from the estimated excess risk of the tasks."""

from typing import Any

import keras
import tensorflow as tf

from mtl.balancing.balancer import Balancer, check_range
from mtl.balancing.solvers.simplex import portion
from mtl.utils.arguments import checked

__all__ = ["ExcessMTL"]


@keras.saving.register_keras_serializable("mtl")
class ExcessMTL(Balancer):
    """Excess risk estimation: `w_t ∝ w_t exp(eta E_t / E_t(0))`, with the excess risk `E_t = sum_p g_tp^2 / sqrt(s_tp + 1e-7)`.

    `s` is the sum of `g^2` over all steps. Weights start from 1, sum to K, and change from each task's second step on; `E_t(0)`
    is its first estimate. The sum of the active tasks' weights is kept.

    Args:
        eta: step size of the weights.

    Example:

    >>> import mtl
    >>> balancer = mtl.balancing.ExcessMTL()
    >>> balancer.aggregate([[2.0, 0.0], [0.0, 1.0]]).numpy().tolist()
    [2.0, 1.0]

    Reference:
        He, Zhou, Zhang, Yun, Xu, Zeng, Chilimbi and Zhao, "Robust Multi-Task Learning with Excess Risks", ICML 2024.
    """

    needs = "jacobian"
    tracks_gradients = True

    @checked
    def __init__(self, eta: float = 0.01):
        self.eta = check_range(self, "eta", eta, 0.0)

    def _make_state(self, count: int) -> None:
        self._squares = self.state.add("squares", [count, self.size])
        self._learned = self.state.add("learned_weights", [count], 1.0)
        self._first, self._seen = self.state.add("first_risks", [count]), self.state.add("seen", [count])

    def _mix(self, jacobian: Any, active: Any, losses: Any) -> tuple[Any, Any]:
        dtype = jacobian.dtype
        squares = tf.cast(tf.convert_to_tensor(self._squares), dtype) + jacobian**2
        risks = tf.reduce_sum(jacobian**2 / tf.sqrt(squares + 1e-7), axis=1)
        seen = tf.identity(tf.convert_to_tensor(self._seen)) > 0
        first = tf.where(seen, tf.cast(tf.identity(tf.convert_to_tensor(self._first)), dtype), risks)
        old = tf.cast(tf.identity(tf.convert_to_tensor(self._learned)), dtype)
        exponents = tf.where(seen & active, self.eta * tf.math.divide_no_nan(risks, first), tf.zeros_like(risks))
        # A constant added to all exponents cancels in the shares; the largest exponential becomes 1.
        shares, _ = portion(old * tf.exp(exponents - tf.reduce_max(exponents)), active)
        weights = shares * tf.reduce_sum(tf.where(active, old, 0))
        self._keep(self._squares, squares)
        self._keep(self._learned, tf.where(active, weights, old))
        self._keep(self._first, tf.where(active, first, tf.cast(tf.convert_to_tensor(self._first), dtype)))
        self._keep(self._seen, tf.cast(seen | active, tf.float32))
        return weights, jacobian
