"""Metrics of multi-label classification that count labels."""

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from mtl.metrics.task_metric import TaskMetric
from mtl.utils.arguments import checked
from mtl.utils.rows import by_class, labelled
from mtl.utils.types import Share

__all__ = ["LabelCounts"]


@keras.saving.register_keras_serializable("mtl")
class LabelCounts(TaskMetric):
    """Micro and macro precision, recall and F1 of multi-label rows.

    The state `total [C, 4]` holds each label's true positives, false positives, false negatives and true negatives, over the rows
    where it is known. Micro metrics use the sum of the counts; macro metrics are means over the labels that were known in some
    row; a division by zero gives 0.

    Args:
        labels: the number of labels, `C`.
        threshold: a label is predicted where its probability is this or more.

    Returns:
        `result()`: a dict of float32 scalars `micro_f1`, `micro_precision`, `micro_recall` and the same for `macro`;
        NaN without rows.

    Example:

    >>> import numpy as np
    >>> metric = LabelCounts(2)
    >>> metric.update_state(np.array([[1, 0]]), np.array([[3.0, 1.0]]), np.array([1.0]), {})
    >>> float(metric.result()["micro_precision"])
    0.5
    """

    @checked
    def __init__(self, labels: int, threshold: Share = 0.5, name: str = "label_counts", **kwargs: Any):
        super().__init__(shape=(labels, 4), name=name, **kwargs)
        self.labels = labels
        self.threshold = threshold

    def statistics(self, target: Any, outputs: Any, weight: Any, features: Mapping[str, Any]) -> Any:
        """Return the weights of true positives, false positives, false negatives and true negatives, `[C, 4]`.

        Args:
            target: `[B, C]`, 0 or 1, or NaN where unknown.
            outputs: `[B, C]` logits.
            weight: `[B]` or `[B, C]`.
            features: not used.
        """
        weight = by_class(target, weight)
        probability = ops.sigmoid(ops.cast(labelled(weight, outputs), "float32"))
        predicted = ops.cast(probability >= self.threshold, "float32")
        gold = ops.cast(ops.cast(labelled(weight, target), "float32") > 0.5, "float32")
        no, silent = 1.0 - gold, 1.0 - predicted
        outcomes = ops.stack([gold * predicted, no * predicted, gold * silent, no * silent], axis=-1)
        return ops.sum(outcomes * weight[..., None], axis=0)

    def scores(self, state: Any) -> dict[str, Any]:
        scores = {}
        for kind, counts in (("micro", ops.sum(state, axis=0, keepdims=True)), ("macro", state)):
            right, extra, missed, _ = ops.unstack(counts, num=4, axis=-1)
            seen = ops.cast(ops.sum(counts, axis=-1) > 0, counts.dtype)
            ratios = {
                "f1": (2.0 * right, 2.0 * right + extra + missed),
                "precision": (right, right + extra),
                "recall": (right, right + missed),
            }
            for name, (part, whole) in ratios.items():
                scores[f"{kind}_{name}"] = ops.divide_no_nan(ops.sum(ops.divide_no_nan(part, whole) * seen), ops.sum(seen))
        return scores

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "labels": self.labels, "threshold": self.threshold}
