"""Losses and gradients both scaled to one size."""

from typing import Any

import keras
import tensorflow as tf

from mtl.balancing.balancer import Balancer, check_range
from mtl.utils.arguments import checked

__all__ = ["DBMTL"]


@keras.saving.register_keras_serializable("mtl")
class DBMTL(Balancer):
    """Dual balancing: moving averages of the gradients of `log L_t`, each scaled to the length of the longest, and summed.

    `y_t <- beta y_t + (1 - beta) g_t / (L_t + 1e-8)`, from 0; `d = max_j ||y_j|| sum_t y_t / ||y_t||`.
    At a stationary point the direction need not be 0, and may raise a loss.

    Args:
        beta: the share of the old average that is kept.

    Example:

    >>> import mtl
    >>> balancer = mtl.balancing.DBMTL(beta=0.0)
    >>> balancer.aggregate([[4.0, 0.0], [0.0, 1.0]], losses=[1.0, 1.0]).numpy().round(5).tolist()
    [4.0, 4.0]

    Reference:
        Lin, Jiang, Ye, Zhang, Chen, Chen, Liu and Kwok, "Dual-Balancing for Multi-Task Learning", arXiv 2023.
    """

    needs = "jacobian"
    uses_losses = True
    tracks_gradients = True

    @checked
    def __init__(self, beta: float = 0.9):
        self.beta = check_range(self, "beta", beta, 0.0, 1.0, open=")")

    def _make_state(self, count: int) -> None:
        self._average = self.state.add("gradients", [count, self.size])

    def _mix(self, jacobian: Any, active: Any, losses: Any) -> tuple[Any, Any]:
        dtype = jacobian.dtype
        old = tf.cast(tf.convert_to_tensor(self._average), dtype)
        logs = jacobian * tf.cast(1.0 / (losses + 1e-8), dtype)[:, None]
        average = tf.where(active[:, None], self.beta * old + (1.0 - self.beta) * logs, old)
        self._keep(self._average, average)
        norms = tf.where(active, tf.norm(average, axis=1), 0)
        return tf.math.divide_no_nan(tf.reduce_max(norms), norms), average
