"""Metrics of single-label classification, all from one confusion matrix."""

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from mtl.metrics.task_metric import TaskMetric
from mtl.utils.arguments import checked
from mtl.utils.rows import labelled
from mtl.utils.types import Count

__all__ = ["ConfusionMatrix"]


@keras.saving.register_keras_serializable("mtl")
class ConfusionMatrix(TaskMetric):
    """Accuracy, macro precision, recall and F1, and Matthews' correlation.

    The state `total[gold, predicted]` is the weighted confusion matrix. Macro means are over the classes that occur in targets or
    predictions; a division by zero gives 0.

    Args:
        classes: the number of classes, `C`.

    Returns:
        `result()`: a dict of float32 scalars `accuracy`, `macro_f1`, `macro_precision`, `macro_recall`, `mcc`; NaN without rows.

    Example:

    >>> import numpy as np
    >>> metric = ConfusionMatrix(2)
    >>> metric.update_state(np.array([0, 1, 1]), np.eye(2)[[0, 0, 1]], np.array([1.0, 1.0, 2.0]), {})
    >>> metric.total.numpy().tolist(), float(metric.result()["accuracy"])
    ([[1.0, 0.0], [1.0, 2.0]], 0.75)

    Reference:
        Gorodkin, "Comparing Two K-Category Assignments by a K-Category Correlation Coefficient", 2004.
    """

    @checked
    def __init__(self, classes: Count, name: str = "confusion_matrix", **kwargs: Any):
        super().__init__(shape=(classes, classes), name=name, **kwargs)
        self.classes = classes

    def statistics(self, target: Any, outputs: Any, weight: Any, features: Mapping[str, Any]) -> Any:
        """Return weights by gold and predicted class, `[C, C]`.

        Args:
            target: class ids `[B]` or `[B, 1]`, or one-hot or soft classes `[B, C]`.
            outputs: `[B, C]` logits or probabilities.
            weight: `[B]`.
            features: not used.
        """
        target, outputs = labelled(weight, target), labelled(weight, outputs)
        if ops.ndim(target) == ops.ndim(outputs):
            target = ops.squeeze(target, -1) if target.shape[-1] == 1 else ops.argmax(target, axis=-1)
        cell = ops.cast(target, "int32") * self.classes + ops.cast(ops.argmax(outputs, axis=-1), "int32")
        cells = ops.segment_sum(ops.cast(weight, "float32"), cell, num_segments=self.classes**2)
        return ops.reshape(cells, (self.classes, self.classes))

    def scores(self, state: Any) -> dict[str, Any]:
        gold, predicted = ops.sum(state, axis=1), ops.sum(state, axis=0)
        rows = ops.sum(gold)
        right = ops.divide_no_nan(ops.diagonal(state), rows)
        gold_share, predicted_share = ops.divide_no_nan(gold, rows), ops.divide_no_nan(predicted, rows)
        # Exactly 0 where all rows are of one class.
        gold_spread = ops.sum(gold_share * ops.divide_no_nan(rows - gold, rows))
        predicted_spread = ops.sum(predicted_share * ops.divide_no_nan(ops.sum(predicted) - predicted, rows))
        covariance = ops.sum(right - gold_share * predicted_share)
        occurs = ops.cast(gold + predicted > 0, state.dtype)

        def macro(ratios: Any) -> Any:
            return ops.divide_no_nan(ops.sum(ratios * occurs), ops.sum(occurs))

        return {
            "accuracy": ops.sum(right),
            "macro_f1": macro(ops.divide_no_nan(2.0 * right, gold_share + predicted_share)),
            "macro_precision": macro(ops.divide_no_nan(right, predicted_share)),
            "macro_recall": macro(ops.divide_no_nan(right, gold_share)),
            "mcc": ops.divide_no_nan(covariance, ops.sqrt(gold_spread * predicted_spread)),
        }

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "classes": self.classes}
