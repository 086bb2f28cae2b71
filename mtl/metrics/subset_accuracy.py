"""The strictest metric of multi-label classification."""

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from mtl.metrics.task_metric import TaskMetric
from mtl.utils.arguments import checked
from mtl.utils.rows import by_class, labelled
from mtl.utils.types import Share

__all__ = ["SubsetAccuracy"]


@keras.saving.register_keras_serializable("mtl")
class SubsetAccuracy(TaskMetric):
    """Share of rows for which every known label is predicted correctly.

    Args:
        threshold: a label is predicted where its probability is this or more.

    Returns:
        `result()`: a float32 scalar; NaN without rows.

    Example:

    >>> import numpy as np
    >>> metric = SubsetAccuracy()
    >>> metric.update_state(np.array([[1, 0], [1, 1]]), np.array([[3.0, -3.0], [3.0, -3.0]]), np.array([1.0, 1.0]), {})
    >>> float(metric.result())
    0.5
    """

    @checked
    def __init__(self, threshold: Share = 0.5, name: str = "subset_accuracy", **kwargs: Any):
        super().__init__(shape=(2,), name=name, **kwargs)
        self.threshold = threshold

    def statistics(self, target: Any, outputs: Any, weight: Any, features: Mapping[str, Any]) -> Any:
        """Return the weights of correct rows and of all rows, `[2]`.

        Args:
            target: `[B, C]`, 0 or 1, or NaN where unknown.
            outputs: `[B, C]` logits.
            weight: `[B]`, or `[B, C]`: the weight of a row is then the mean over its known classes.
            features: not used.
        """
        weight = by_class(target, weight)
        known = weight > 0
        predicted = ops.sigmoid(ops.cast(labelled(weight, outputs), "float32")) >= self.threshold
        gold = ops.cast(labelled(weight, target), "float32") > 0.5
        right = ops.all(ops.equal(gold, predicted) | ops.logical_not(known), axis=-1)
        rows = ops.divide_no_nan(ops.sum(weight, axis=-1), ops.sum(ops.cast(known, "float32"), axis=-1))
        return ops.stack([ops.sum(rows * ops.cast(right, "float32")), ops.sum(rows)])

    def scores(self, state: Any) -> Any:
        return ops.divide_no_nan(state[0], state[1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "threshold": self.threshold}
