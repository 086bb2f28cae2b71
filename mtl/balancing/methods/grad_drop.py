"""Gradients of one sign, chosen for each parameter."""

from typing import Any

import keras
import tensorflow as tf

from mtl.balancing.balancer import Balancer, check_range, check_whole
from mtl.balancing.solvers.rng import Rng
from mtl.utils.arguments import checked

__all__ = ["GradDrop"]


@keras.saving.register_keras_serializable("mtl")
class GradDrop(Balancer):
    """Gradient sign dropout: at each parameter, either the positive or the negative gradients are kept.

    The purity `p = (1 + sum_t g_t / sum_t |g_t|) / 2` measures how far the signs agree. With `u` uniform in `[0, 1]`, positive
    gradients stay where `p > u` and negative ones where `p < u`. `d = sum_t (leak + (1 - leak) stays_t) g_t`.

    Args:
        leak: the share of a gradient that is always kept.
        seed: seed of the random draws.

    Example:

    >>> import mtl
    >>> mtl.balancing.GradDrop().aggregate([[1.0, 2.0], [3.0, 0.0]]).numpy().tolist()  # No conflict.
    [4.0, 2.0]

    Reference:
        Chen, Ngiam, Huang, Luong, Kretzschmar, Chai and Anguelov, "Just Pick a Sign: Optimizing Deep Multitask Models with
        Gradient Sign Dropout", NeurIPS 2020.
    """

    needs = "jacobian"

    @checked
    def __init__(self, leak: float = 0.0, seed: int = 0):
        self.leak = check_range(self, "leak", leak, 0.0, 1.0)
        self.seed = check_whole(self, "seed", seed)

    def _make_state(self, count: int) -> None:
        self._rng = Rng(self.state, self.seed)

    def _mix(self, jacobian: Any, active: Any, losses: Any) -> tuple[Any, Any]:
        total, size = tf.reduce_sum(jacobian, axis=0), tf.reduce_sum(tf.abs(jacobian), axis=0)
        purity = 0.5 * (1.0 + tf.math.divide_no_nan(total, size))
        level = tf.cast(tf.random.stateless_uniform(tf.shape(purity), self._rng.next(self._keep)), jacobian.dtype)
        stays = ((purity > level) & (jacobian > 0)) | ((purity < level) & (jacobian < 0))
        rows = tf.where(stays, jacobian, self.leak * jacobian)
        return tf.cast(active, jacobian.dtype), rows
