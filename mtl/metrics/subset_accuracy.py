"""The strictest metric of multi-label classification."""

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from mtl.metrics.task_metric import TaskMetric
from mtl.utils.arguments import checked
from mtl.utils.rows import labelled
from mtl.utils.types import Share

__all__ = ["SubsetAccuracy"]


@keras.saving.register_keras_serializable("mtl")
class SubsetAccuracy(TaskMetric):
    """The share of rows whose labels are all predicted, and no others.

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
        """`[2]`: the weight of the rows that are right, and of all rows.

        Args:
            target: `[B, C]`, 0 or 1.
            outputs: `[B, C]` logits.
            weight: `[B]`.
            features: not used.
        """
        weight = ops.cast(weight, "float32")
        predicted = ops.sigmoid(ops.cast(labelled(weight, outputs), "float32")) >= self.threshold
        gold = ops.cast(labelled(weight, target), "float32") > 0.5
        right = ops.all(ops.equal(gold, predicted), axis=-1)
        return ops.stack([ops.sum(weight * ops.cast(right, "float32")), ops.sum(weight)])

    def scores(self, state: Any) -> Any:
        return ops.divide_no_nan(state[0], state[1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "threshold": self.threshold}
