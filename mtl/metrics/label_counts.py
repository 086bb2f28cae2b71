"""Metrics of multi-label classification that count labels."""

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from mtl.metrics.task_metric import TaskMetric
from mtl.utils.arguments import checked
from mtl.utils.rows import labelled
from mtl.utils.types import Share

__all__ = ["LabelCounts"]


@keras.saving.register_keras_serializable("mtl")
class LabelCounts(TaskMetric):
    """Micro and macro precision, recall and F1 of several labels a row.

    The state `total [C, 3]` holds each label's true positives, false positives and false negatives. Micro metrics are of the
    counts' sum, macro metrics the mean over all labels; what would divide by zero is 0.

    Args:
        labels: the number of labels, `C`.
        threshold: a label is predicted where its probability is this or more.

    Returns:
        `result()`: a dict of float32 scalars `micro_f1`, `micro_precision`, `micro_recall` and the same for `macro`.

    Example:

    >>> import numpy as np
    >>> metric = LabelCounts(2)
    >>> metric.update_state(np.array([[1, 0]]), np.array([[3.0, 1.0]]), np.array([1.0]), {})
    >>> float(metric.result()["micro_precision"])
    0.5
    """

    @checked
    def __init__(self, labels: int, threshold: Share = 0.5, name: str = "label_counts", **kwargs: Any):
        super().__init__(shape=(labels, 3), name=name, **kwargs)
        self.labels = labels
        self.threshold = threshold

    def statistics(self, target: Any, outputs: Any, weight: Any, features: Mapping[str, Any]) -> Any:
        """`[C, 3]` weights of true positives, false positives and false negatives.

        Args:
            target: `[B, C]`, 0 or 1.
            outputs: `[B, C]` logits.
            weight: `[B]`.
            features: not used.
        """
        probability = ops.sigmoid(ops.cast(labelled(weight, outputs), "float32"))
        predicted = ops.cast(probability >= self.threshold, "float32")
        gold = ops.cast(ops.cast(labelled(weight, target), "float32") > 0.5, "float32")
        outcomes = ops.stack([gold * predicted, (1.0 - gold) * predicted, gold * (1.0 - predicted)], axis=-1)
        return ops.sum(outcomes * ops.reshape(ops.cast(weight, "float32"), (-1, 1, 1)), axis=0)

    def result(self) -> dict[str, Any]:
        scores = {}
        for kind, counts in (("micro", ops.sum(self.total, axis=0)), ("macro", self.total)):
            right, extra, missed = counts[..., 0], counts[..., 1], counts[..., 2]
            scores[f"{kind}_f1"] = ops.mean(ops.divide_no_nan(2.0 * right, 2.0 * right + extra + missed))
            scores[f"{kind}_precision"] = ops.mean(ops.divide_no_nan(right, right + extra))
            scores[f"{kind}_recall"] = ops.mean(ops.divide_no_nan(right, right + missed))
        return scores

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "labels": self.labels, "threshold": self.threshold}
