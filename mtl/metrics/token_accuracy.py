"""Accuracy of one class per token."""

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from mtl.metrics.task_metric import TaskMetric
from mtl.utils.arguments import checked
from mtl.utils.rows import labelled

__all__ = ["TokenAccuracy"]


@keras.saving.register_keras_serializable("mtl")
class TokenAccuracy(TaskMetric):
    """Share of the labelled tokens whose class is predicted correctly.

    Returns:
        `result()`: a float32 scalar; NaN without tokens.

    Example:

    >>> import numpy as np
    >>> metric = TokenAccuracy()
    >>> metric.update_state(np.array([[1, 2, 0]]), np.array([[1, 1, 1]]), np.array([[1.0, 1.0, 0.0]]), {})
    >>> float(metric.result())
    0.5
    """

    @checked
    def __init__(self, name: str = "token_accuracy", **kwargs: Any):
        super().__init__(shape=(2,), name=name, **kwargs)

    def statistics(self, target: Any, outputs: Any, weight: Any, features: Mapping[str, Any]) -> Any:
        """Return the weights of correct tokens and of all tokens, `[2]`.

        Args:
            target: class ids `[B, S]`.
            outputs: class ids `[B, S]`, logits `[B, S, C]`, or a dict that holds class ids as `"ids"`.
            weight: `[B, S]`.
            features: not used.
        """
        predicted = outputs["ids"] if isinstance(outputs, Mapping) else outputs
        if ops.ndim(predicted) > ops.ndim(target):
            predicted = ops.argmax(labelled(weight, predicted), axis=-1)
        right = ops.equal(ops.cast(target, "int32"), ops.cast(predicted, "int32"))
        weight = ops.cast(weight, "float32")
        return ops.stack([ops.sum(weight * ops.cast(right, "float32")), ops.sum(weight)])

    def scores(self, state: Any) -> Any:
        return ops.divide_no_nan(state[0], state[1])
