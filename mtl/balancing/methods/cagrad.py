"""The direction near the mean gradient that helps the worst task most."""

from typing import Any

import keras
import tensorflow as tf

from mtl.balancing.balancer import Balancer, check_range
from mtl.balancing.solvers.gramian import Gramian, definite
from mtl.balancing.solvers.quadratic import nonnegative
from mtl.utils.arguments import checked

__all__ = ["CAGrad"]

RESCALE = (0, 1, 2)


@keras.saving.register_keras_serializable("mtl")
class CAGrad(Balancer):
    """Conflict-averse gradient descent: `max_d min_t g_t d` within `||d - g_0|| <= c ||g_0||`, where `g_0` is the mean gradient.

    With `b_t = 1 / K`, `w = b + c ||g_0|| u / sqrt(u^T G u)` for the u of the simplex that minimises
    `u^T G b + c ||g_0|| sqrt(u^T G u)`. The dual is solved: the nearest point to `g_0` with `g_t d >= s` for all tasks is a
    small quadratic program, and its distance from `g_0` is a convex function of s; Newton's method finds the s where it equals
    `c ||g_0||`. A gradient of 0 is left out of the minimum.
    At a stationary point the direction lowers the mean loss and may raise single losses, unless the mean gradient is 0.

    Args:
        c: relative distance from the mean gradient, in `[0, 1)`, where the mean loss still converges to a minimum.
        rescale: divides the direction by 1 (`0`), by `1 + c^2` (`1`), or by `1 + c` (`2`).

    Example:

    >>> import numpy as np, mtl
    >>> mtl.balancing.CAGrad(c=0.5).weights(np.array([[18.0, -22.0], [-22.0, 38.0]])).numpy().round(5).tolist()
    [0.70412, 0.5]

    Reference:
        Liu, Liu, Jin, Stone and Liu, "Conflict-Averse Gradient Descent for Multi-task Learning", NeurIPS 2021; `rescale` is that
        of the authors' code.
    """

    needs = "gramian"

    @checked
    def __init__(self, c: float = 0.5, rescale: int = 0):
        self.c = check_range(self, "c", c, 0.0, 1.0, open=")")
        if rescale not in RESCALE:
            raise ValueError(f"CAGrad expects `rescale` 0, 1 or 2; got {rescale}.")
        self.rescale = rescale

    def _solve(self, gramian: Gramian, losses: Any) -> Any:
        matrix, size = definite(gramian.cosines, gramian.tolerance), tf.sqrt(gramian.size)
        norms, inverse = gramian.norms / size, gramian.inverse_norms * size
        mean = gramian.share * norms
        slopes = tf.linalg.matvec(gramian.cosines, mean)
        square = tf.tensordot(mean, slopes, 1)
        # A mean gradient that is 0 up to rounding is returned unchanged: the ball around it has no size.
        told = square > gramian.tolerance * tf.reduce_sum(mean**2)
        radius = self.c * tf.sqrt(tf.where(told, square, tf.zeros_like(square)))
        # An upper bound of `s`, from which the search descends.
        reach = tf.reduce_min(
            tf.where(gramian.nonzero, norms * (slopes + radius), tf.fill(tf.shape(norms), tf.constant(4.0, tf.float64)))
        )

        def project(level: Any) -> tuple[Any, Any]:
            """Return the addition to the mean gradient that reaches the level, in unit gradients, and its norm."""
            x = nonnegative(matrix, (slopes - level * inverse)[None])[0]
            x = tf.where(gramian.nonzero, x, tf.zeros_like(x))
            return x, tf.sqrt(tf.maximum(tf.tensordot(x, tf.linalg.matvec(matrix, x), 1), 0.0))

        def newton(turn: Any, level: Any, x: Any, length: Any) -> Any:
            level -= tf.math.divide_no_nan((length - radius) * length, tf.reduce_sum(x * inverse))
            return turn + 1, level, *project(level)

        start = (0, reach, *project(reach))
        _, _, x, length = tf.while_loop(
            lambda turn, level, x, length: (turn < 60) & (radius > 0) & (length > radius * (1.0 + 1e-12)), newton, start
        )
        divisor = {0: 1.0, 1: 1.0 + self.c**2, 2: 1.0 + self.c}[self.rescale]
        # At a stationary point the level may be maximal before the distance reaches the radius.
        return (gramian.share + x * inverse * tf.minimum(tf.math.divide_no_nan(radius, length), 1.0)) / divisor
