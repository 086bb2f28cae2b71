"""Metrics of regression."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from mtl.metrics.task_metric import TaskMetric
from mtl.utils.arguments import checked
from mtl.utils.rows import labelled

__all__ = ["RegressionScores"]


@keras.saving.register_keras_serializable("mtl")
class RegressionScores(TaskMetric):
    """Mean absolute error, mean squared error and its root, in the labels' unit, and Pearson's correlation.

    Pearson's correlation uses sums about the mean, so that labels far from 0 lose no precision. A batch yields the sums
    `n, w |e|, w e^2, c_t, c_y, w d_t, w d_y, w d_t^2, w d_y^2, w d_t d_y`, with `n` the sum of weights, `c` a number near the
    batch's mean, and `d` the distance from it. Parts are merged about their common mean. The correlation is 0
    for constant targets or predictions.

    Args:
        mean: the mean that the targets were standardised by.
        scale: the standard deviation that the targets were standardised by.
        range: `(low, high)`, in the labels' unit, to which predictions are clipped; None for no limits.

    Returns:
        `result()`: a dict of float32 scalars `mae`, `mse`, `rmse`, `pearson`; NaN without rows.

    Example:

    >>> import numpy as np
    >>> metric = RegressionScores(mean=10.0, scale=2.0)
    >>> metric.update_state(np.array([10.0, 12.0]), np.array([0.0, 2.0]), np.array([1.0, 1.0]), {})
    >>> float(metric.result()["mae"]), float(metric.result()["pearson"])
    (1.0, 1.0)

    Reference:
        Merging: Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances",
        COMPSTAT 1982.
    """

    additive = False

    @checked
    def __init__(
        self,
        mean: float = 0.0,
        scale: float = 1.0,
        range: Sequence[float] | None = None,
        name: str = "regression_scores",
        **kwargs: Any,
    ):
        super().__init__(shape=(10,), name=name, **kwargs)
        self.mean = mean
        self.scale = scale
        self.range = None if range is None else tuple(range)

    def statistics(self, target: Any, outputs: Any, weight: Any, features: Mapping[str, Any]) -> Any:
        """Return the sums over the batch, `[10]`.

        Args:
            target: `[B]` or `[B, 1]`, in the labels' unit.
            outputs: `[B]`, standardised.
            weight: `[B]`.
            features: not used.
        """
        w = ops.cast(weight, "float32")
        t = (ops.reshape(ops.cast(labelled(weight, target), "float32"), (-1,)) - self.mean) / self.scale
        y = ops.cast(labelled(weight, outputs), "float32")
        if self.range is not None:
            low, high = self.range
            y = ops.clip(y, (low - self.mean) / self.scale, (high - self.mean) / self.scale)
        size = ops.sum(w)
        error, centre_t, centre_y = y - t, ops.divide_no_nan(ops.sum(w * t), size), ops.divide_no_nan(ops.sum(w * y), size)
        t, y = t - centre_t, y - centre_y
        absolute, *sums = ops.unstack(
            ops.sum(w * ops.stack([ops.abs(error), error**2, t, y, t * t, y * y, t * y]), axis=1), num=7
        )
        return ops.stack([size, absolute, sums[0], centre_t, centre_y, *sums[1:]])

    def merge(self, parts: Any) -> Any:
        sizes = parts[:, :1]
        size = ops.sum(sizes)
        near = ops.divide_no_nan(parts[:, 5:7], sizes)  # From each part's centre to its mean.
        means = parts[:, 3:5] + near
        mean = ops.divide_no_nan(ops.sum(sizes * means, axis=0), size)
        gap = means - mean

        def products(of: Any) -> Any:
            return sizes * ops.stack([of[:, 0] ** 2, of[:, 1] ** 2, of[:, 0] * of[:, 1]], axis=1)

        squares = ops.sum(parts[:, 7:] - products(near) + products(gap), axis=0)
        # A centre exact in float32, and its distance from the mean, so that no precision is lost between replicas.
        centre = ops.cast(ops.cast(mean, "float32"), "float64")
        off = mean - centre
        squares += size * ops.stack([off[0] ** 2, off[1] ** 2, off[0] * off[1]])
        return ops.concatenate([ops.sum(parts[:, :3], axis=0), centre, size * off, squares], axis=0)

    def scores(self, state: Any) -> dict[str, Any]:
        size, mae, mse, mean_t, mean_y, off_t, off_y, tt, yy, ty = ops.unstack(state, num=10)
        mae, mse, off_t, off_y, tt, yy, ty = (ops.divide_no_nan(each, size) for each in (mae, mse, off_t, off_y, tt, yy, ty))
        tt, yy, ty = tt - off_t**2, yy - off_y**2, ty - off_t * off_y
        spread = ops.sqrt(_spread(mean_t, tt)) * ops.sqrt(_spread(mean_y, yy))
        return {
            "mae": mae * self.scale,
            "mse": mse * self.scale**2,
            "rmse": ops.sqrt(mse) * self.scale,
            "pearson": ops.clip(ops.divide_no_nan(ty, spread), -1.0, 1.0),
        }

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mean": self.mean, "scale": self.scale, "range": self.range}


def _spread(mean: Any, variance: Any) -> Any:
    """Return the variance; 0 where it is within the rounding error of equal numbers, far below float32's spacing."""
    return ops.where(variance > 1e-18 * mean**2, variance, 0.0)
