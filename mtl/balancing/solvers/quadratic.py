"""Small quadratic programs, solved exactly inside the graph."""

from typing import Any

import tensorflow as tf

from mtl.balancing.solvers.gramian import Gramian, definite

__all__ = ["least_above", "least_norm", "nonnegative", "stationary"]


def nonnegative(matrix: Any, linear: Any) -> Any:
    """Return the minimiser of `x^T M x / 2 + q^T x` over `x >= 0`.

    At the minimum each coordinate either is 0, with a slope `z = M x + q >= 0`, or has the slope 0. `_pivot` guesses which are
    free and corrects the guess, mostly within five iterations. Where M is nearly singular it may cycle; then `_interior`
    approximates the minimum for any M, and `_pivot` restarts from there.

    Args:
        matrix: M, positive definite, float64 `[K, K]`.
        linear: q, float64 `[B, K]`, one problem per row.

    Returns:
        float64 `[B, K]`.

    Example:

    >>> import tensorflow as tf
    >>> q = tf.constant([[-1.0, -2.0]], tf.float64)
    >>> nonnegative(tf.constant([[2.0, 1.0], [1.0, 1.0]], tf.float64), q).numpy().tolist()
    [[0.0, 2.0]]

    Reference:
        Júdice and Pires, "A block principal pivoting algorithm for large-scale strictly monotone linear complementarity
        problems", Computers & Operations Research, 1994.
        Mehrotra, "On the implementation of a primal-dual interior point method", SIAM Journal on Optimization, 1992.
    """
    size = tf.reduce_max(tf.abs(linear), axis=1, keepdims=True)
    size = tf.where(size > 0, size, tf.ones_like(size))
    linear = linear / size
    x, solved = _pivot(matrix, linear, linear < 0)

    def again() -> Any:
        near, slope = _interior(matrix, linear)
        exact, found = _pivot(matrix, linear, near > slope)
        return tf.where(solved[:, None], x, tf.where(found[:, None], exact, near))

    return size * tf.cond(tf.reduce_all(solved), lambda: x, again)


def _pivot(matrix: Any, linear: Any, free: Any, turns: int = 10) -> tuple[Any, Any]:
    """Run block principal pivoting: move every coordinate with a wrong sign to the other set, until none is left.

    Returns:
        `x [B, K]`, and whether it is the minimum, bool `[B]`.
    """
    count = matrix.shape[0]
    eye = tf.eye(count, dtype=tf.float64)

    def solve(free: Any) -> tuple[Any, Any]:
        """Return `x` for the given free coordinates, and which coordinates have a wrong sign by more than rounding."""
        inside = tf.cast(free, tf.float64)
        system = tf.where(free[:, :, None] & free[:, None, :], matrix[None], eye[None] * (1.0 - inside)[:, :, None])
        x = tf.linalg.cholesky_solve(tf.linalg.cholesky(system), -(inside * linear)[:, :, None])[:, :, 0]
        x = tf.where(free, x, tf.zeros_like(x))
        slope, largest = tf.linalg.matvec(matrix[None], x) + linear, tf.reduce_max(tf.abs(x), axis=1, keepdims=True)
        return x, tf.where(free, x < -1e-13 * largest, slope < -1e-15 * count * (1.0 + largest))

    def turn(number: Any, free: Any, x: Any, wrong: Any) -> Any:
        free = tf.math.logical_xor(free, wrong)
        return number + 1, free, *solve(free)

    wide = tf.TensorShape([None, count])
    _, _, x, wrong = tf.while_loop(
        lambda number, free, x, wrong: (number < turns) & tf.reduce_any(wrong),
        turn,
        (0, free, *solve(free)),
        shape_invariants=(tf.TensorShape([]), wide, wide, wide),
    )
    return tf.maximum(x, 0.0), ~tf.reduce_any(wrong, axis=1)


def _interior(matrix: Any, linear: Any, turns: int = 60) -> tuple[Any, Any]:
    """Run Mehrotra's predictor-corrector method, for `|q| <= 1`; return `x` and slopes `z`, positive, with products near 0."""
    count = matrix.shape[0]

    def longest(value: Any, change: Any) -> Any:
        """Return the largest step, at most 1, that keeps the value positive."""
        ends = tf.where(change < 0, -value / change, tf.ones_like(value))
        return tf.minimum(tf.reduce_min(ends, axis=1, keepdims=True), 1.0)

    def turn(number: Any, x: Any, z: Any) -> Any:
        middle = tf.reduce_mean(x * z, axis=1, keepdims=True)
        residual = tf.linalg.matvec(matrix[None], x) + linear - z
        factor = tf.linalg.cholesky(matrix[None] + tf.linalg.diag(z / x))

        def direction(target: Any) -> tuple[Any, Any]:
            dx = tf.linalg.cholesky_solve(factor, (target / x - z - residual)[:, :, None])[:, :, 0]
            return dx, (target - z * dx) / x - z

        dx, dz = direction(tf.zeros_like(x))
        length = tf.minimum(longest(x, dx), longest(z, dz))
        ahead = tf.reduce_mean((x + length * dx) * (z + length * dz), axis=1, keepdims=True)
        dx, dz = direction(middle * (ahead / middle) ** 3 - dx * dz)
        length = 0.995 * tf.minimum(longest(x, dx), longest(z, dz))
        going = middle > 1e-30
        return number + 1, tf.where(going, x + length * dx, x), tf.where(going, z + length * dz, z)

    wide = tf.TensorShape([None, count])
    _, x, z = tf.while_loop(
        lambda number, x, z: (number < turns) & tf.reduce_any(tf.reduce_mean(x * z, axis=1) > 1e-30),
        turn,
        (0, tf.ones_like(linear), tf.ones_like(linear)),
        shape_invariants=(tf.TensorShape([]), wide, wide),
    )
    return x, z


def least_norm(gramian: Gramian) -> Any:
    """Return the minimiser of `w^T G w` over the simplex of the active tasks, float64 `[K]`.

    `w / w^T G w` is the minimiser of `y^T G y / 2 - 1^T y` over `y >= 0`. It is found for gradients scaled to length 1, so that
    their norms may differ by many orders of magnitude. A gradient of 0 receives all the weight.
    """
    lengths = tf.where(gramian.nonzero, gramian.norms, tf.reduce_max(gramian.norms))
    shortest = tf.reduce_min(tf.where(gramian.active, lengths, tf.reduce_max(lengths)))
    linear = tf.where(gramian.active, -shortest * gramian.inverse_norms, tf.ones_like(gramian.norms))
    x = nonnegative(definite(gramian.cosines, gramian.tolerance), linear[None])[0]
    weights = x * shortest * gramian.inverse_norms * gramian.mask
    still = tf.cast(gramian.active & ~gramian.nonzero, tf.float64)
    weights = tf.where(tf.reduce_any(still > 0), still, weights)
    return tf.math.divide_no_nan(weights, tf.reduce_sum(weights))


def stationary(gramian: Gramian, values: Any, vectors: Any) -> Any:
    """Return whether a convex combination of the nonzero gradients is 0 within the tolerance; a bool scalar.

    `values` and `vectors` are the Gramian's `spectrum`; the problem is solved only where it contains a 0.

    The shortest convex combination of unit gradients has the squared length `1 / 1^T x`, where x is the minimiser of
    `x^T C x / 2 - 1^T x` over `x >= 0`.
    """
    floor = gramian.tolerance * values[-1]
    matrix = tf.matmul(vectors * tf.maximum(values, floor), vectors, transpose_b=True)
    dependent = tf.reduce_any(values == 0)
    linear = -tf.cast(gramian.nonzero, tf.float64)
    return tf.cond(dependent, lambda: 2.0 * floor * tf.reduce_sum(nonnegative(matrix, linear[None])) >= 1.0, lambda: dependent)


def least_above(gramian: Gramian, floors: Any) -> Any:
    """Return the minimiser of `v^T G v` over `v >= u`, for each row of floors.

    `J^T v` is `J^T u` projected on the dual cone, `J d >= 0`.

    Args:
        gramian: the Gramian.
        floors: u, float64 `[B, K]`, at least 0; 0 for tasks that are not active.

    Returns:
        v, float64 `[B, K]`.
    """
    matrix = definite(gramian.cosines, gramian.tolerance)
    lifted = floors * gramian.norms
    size = tf.reduce_max(tf.abs(lifted), axis=1, keepdims=True)
    size = tf.where(size > 0, size, tf.ones_like(size))
    x = nonnegative(matrix, tf.linalg.matvec(matrix[None], lifted / size))
    return floors + x * size * gramian.inverse_norms
