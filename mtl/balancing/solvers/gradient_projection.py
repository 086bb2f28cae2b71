"""Pairwise changes of gradients in a random order, computed from their Gramian."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from mtl.balancing.solvers.gramian import Gramian

__all__ = ["project_conflicts", "orders"]


def orders(count: int, seed: Any) -> Any:
    """Return a random order of all tasks, itself included, for each task: int32 `[K, K]`."""
    return tf.argsort(tf.random.stateless_uniform([count, count], seed), axis=1)


def project_conflicts(gramian: Gramian, targets: Any, seed: Any, change: Callable[..., Any], rate: float) -> tuple[Any, Any]:
    """Update each gradient `g_i'`, which starts as `g_i`, with the others in turn: `g_i' <- g_i' + a g_j`.

    A changed gradient is represented by its weights `C_i` on the original gradients; its products with them are `C_i G`.

    Args:
        gramian: the Gramian.
        targets: float64 `[K, K]`, one number per pair, a moving average of the pair's cosine.
        seed: seed of the random orders.
        change: `(cosine, ||g_i'||, ||g_j||, target) -> a`, each `[K]`; for all i at once.
        rate: the share of a new cosine in the targets.

    Returns:
        The weight of each original gradient in `sum_i g_i'`, and the new targets.
    """
    count = gramian.matrix.shape[0]
    order, rows = orders(count, seed), tf.range(count)

    def meet(turn: Any, mixture: Any, targets: Any) -> Any:
        other = order[:, turn]
        places = tf.stack([rows, other], axis=1)
        products = tf.matmul(mixture, gramian.matrix)
        length = tf.sqrt(tf.maximum(tf.reduce_sum(products * mixture, axis=1), 0.0))
        # A gradient that is 0 up to rounding has no direction.
        there = (length > gramian.tolerance**0.5 * gramian.norms) & tf.gather(gramian.nonzero, other) & (other != rows)
        norm = tf.gather(gramian.norms, other)
        cosine = tf.math.divide_no_nan(tf.gather_nd(products, places), length * norm)
        cosine = tf.clip_by_value(cosine, -1.0, 1.0)
        target = tf.gather_nd(targets, places)
        step = change(cosine, length, tf.where(norm > 0, norm, tf.ones_like(norm)), target)
        hot = tf.one_hot(other, count, dtype=tf.float64)
        mixture += tf.where(there, step, tf.zeros_like(step))[:, None] * hot
        targets += tf.where(there, rate * (cosine - target), tf.zeros_like(step))[:, None] * hot
        return turn + 1, mixture, targets

    start = (0, tf.linalg.diag(gramian.mask), targets)
    _, mixture, targets = tf.while_loop(lambda turn, *_: turn < count, meet, start)
    return tf.reduce_sum(mixture, axis=0), targets
