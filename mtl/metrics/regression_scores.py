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

    The state holds sums of standardised numbers, which stay small whatever the labels' unit is:
    `w, w |e|, w e^2, w t, w y, w t^2, w y^2, w t y`. Without spread in gold or predictions, the correlation is 0.

    Args:
        mean: the mean that the targets were standardised by.
        scale: the standard deviation that the targets were standardised by.
        range: `(low, high)`, in the labels' unit, to which predictions are clipped; None for no limits.

    Returns:
        `result()`: a dict of float32 scalars `mae`, `mse`, `rmse`, `pearson`.

    Example:

    >>> import numpy as np
    >>> metric = RegressionScores(mean=10.0, scale=2.0)
    >>> metric.update_state(np.array([10.0, 12.0]), np.array([0.0, 2.0]), np.array([1.0, 1.0]), {})
    >>> float(metric.result()["mae"]), float(metric.result()["pearson"])
    (1.0, 1.0)
    """

    @checked
    def __init__(
        self,
        mean: float = 0.0,
        scale: float = 1.0,
        range: Sequence[float] | None = None,
        name: str = "regression_scores",
        **kwargs: Any,
    ):
        super().__init__(shape=(8,), name=name, **kwargs)
        self.mean = mean
        self.scale = scale
        self.range = None if range is None else tuple(range)

    def statistics(self, target: Any, outputs: Any, weight: Any, features: Mapping[str, Any]) -> Any:
        """`[8]`: the sums over the batch.

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
        terms = ops.stack([ops.ones_like(t), ops.abs(y - t), (y - t) ** 2, t, y, t * t, y * y, t * y])
        return ops.sum(terms * w, axis=1)

    def result(self) -> dict[str, Any]:
        mae, mse, t, y, tt, yy, ty = ops.unstack(ops.divide_no_nan(self.total[1:], self.total[0]), num=7)
        return {
            "mae": mae * self.scale,
            "mse": mse * self.scale**2,
            "rmse": ops.sqrt(mse) * self.scale,
            "pearson": ops.clip(ops.divide_no_nan(ty - t * y, ops.sqrt(_spread(t, tt) * _spread(y, yy))), -1.0, 1.0),
        }

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mean": self.mean, "scale": self.scale, "range": self.range}


def _spread(mean: Any, mean_square: Any) -> Any:
    """The variance; 0 where it is no more than float32's rounding of what it is the difference of."""
    variance = mean_square - mean**2
    return ops.where(variance > 1e-6 * mean_square, variance, 0.0)
