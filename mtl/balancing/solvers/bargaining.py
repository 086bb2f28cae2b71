"""Weights for which each task's gain is a decreasing power of its weight."""

from typing import Any

import tensorflow as tf

from mtl.balancing.solvers.gramian import Gramian
from mtl.balancing.solvers.quadratic import stationary

__all__ = ["bargain"]


def bargain(gramian: Gramian, alpha: float = 1.0) -> Any:
    """Return the positive solution of `G w = w^{-1 / alpha}`, or a w with `G w = 0` at a stationary point, where none exists.

    It is the minimum of the convex `w^T G w / 2 - sum_t phi(w_t)`, `phi' = w^{-1 / alpha}`, found by Newton's method with a line
    search, in units of the solution for orthogonal gradients.

    Args:
        gramian: the Gramian.
        alpha: more than 0; 1 gives Nash's bargaining solution.

    Returns:
        The weights, float64 `[K]`; 0 where the gradient is 0.
    """
    power = 1.0 / alpha
    size = tf.sqrt(gramian.size)
    norms = tf.where(gramian.nonzero, gramian.norms / size, tf.ones_like(gramian.norms))
    # Alone, ||g||^2 w = w^{-power}. In units of that, x^T A x / 2 - sum c phi(x), and x = 1 is where the search begins.
    alone = norms ** (-2.0 / (1.0 + power))
    curve = norms**2 * alone**2
    # Opposite gradients have no solution; this far from opposite they still do, and the search stays short.
    values, vectors = gramian.spectrum
    lifted = tf.maximum(values, max(gramian.tolerance, 1e-9) * values[-1])
    cosines = tf.matmul(vectors * lifted, vectors, transpose_b=True)
    matrix = cosines * tf.sqrt(curve)[:, None] * tf.sqrt(curve)[None, :]
    halves = 0.5 ** tf.range(40, dtype=tf.float64)

    def value(x: Any) -> Any:
        gain = tf.math.log(x) if alpha == 1.0 else x ** (1.0 - power) / (1.0 - power)
        return tf.reduce_sum(0.5 * x * tf.linalg.matvec(matrix[None], x) - curve * gain, axis=1)

    def turn(number: Any, x: Any, least: Any, stalls: Any, going: Any) -> Any:
        slope = tf.linalg.matvec(matrix, x) - curve * x**-power
        bend = matrix + tf.linalg.diag(curve * power * x ** (-power - 1.0))
        scale = 1.0 / tf.sqrt(tf.linalg.diag_part(bend))
        factor = tf.linalg.cholesky(bend * scale[:, None] * scale[None, :])
        step = -scale * tf.linalg.cholesky_solve(factor, (scale * slope)[:, None])[:, 0]
        room = tf.reduce_min(tf.where(step < 0, -0.9 * x / step, tf.ones_like(x)))
        lengths = tf.minimum(room, 1.0) * halves
        best = lengths[tf.argmin(value(x[None] + lengths[:, None] * step[None]))]
        # Where the values differ by rounding only, they carry no information: take the full Newton step.
        height, drop = tf.abs(value(x[None])[0]), tf.abs(tf.tensordot(step, slope, 1))
        near = drop < 1e-9 * height
        length = tf.where(near, tf.minimum(room, 1.0), best)
        # Stop when steps no longer shrink: the rest is rounding.
        stalls = tf.where(near & (drop > 0.5 * least), stalls + 1, 0)
        going = (tf.reduce_max(tf.abs(step / x)) > 1e-14) & (stalls < 8)
        return number + 1, x + length * step, tf.minimum(drop, least), stalls, going

    start = (0, tf.ones_like(norms), tf.constant(float("inf"), tf.float64), 0, True)
    _, x, _, _, _ = tf.while_loop(lambda number, x, least, stalls, going: going & (number < 200), turn, start)
    # At a stationary point the result is the combination of gradients that is 0.
    parts = tf.linalg.matvec(vectors, tf.sqrt(curve) * x, transpose_a=True)
    rest = tf.linalg.matvec(vectors, tf.where(values > 0, tf.zeros_like(parts), parts)) / tf.sqrt(curve)
    x = tf.where(stationary(gramian, values, vectors), rest, x)
    weights = x * alone * size ** (-2.0 / (1.0 + power))
    return tf.where(gramian.nonzero & gramian.active, weights, tf.zeros_like(weights))
