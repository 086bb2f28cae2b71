"""Perplexity of predicted tokens."""

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from mtl.metrics.task_metric import TaskMetric
from mtl.utils.arguments import checked

__all__ = ["Perplexity"]


@keras.saving.register_keras_serializable("mtl")
class Perplexity(TaskMetric):
    """Exponential of the labelled tokens' mean cross-entropy.

    Returns:
        `result()`: a float32 scalar; NaN without tokens.

    Example:

    >>> import numpy as np
    >>> metric = Perplexity()
    >>> metric.update_state(None, {"loss": np.log([[2.0, 8.0, 5.0]])}, np.array([[1.0, 1.0, 0.0]]), {})
    >>> round(float(metric.result()), 4)
    4.0
    """

    @checked
    def __init__(self, name: str = "perplexity", **kwargs: Any):
        super().__init__(shape=(2,), name=name, **kwargs)

    def statistics(self, target: Any, outputs: Any, weight: Any, features: Mapping[str, Any]) -> Any:
        """Return the sums of the tokens' cross-entropy and of their weights, `[2]`.

        Args:
            target: not used.
            outputs: a dict that holds each token's cross-entropy `[B, S]` as `"loss"`.
            weight: `[B, S]`.
            features: not used.
        """
        weight = ops.cast(weight, "float32")
        return ops.stack([ops.sum(weight * ops.cast(outputs["loss"], "float32")), ops.sum(weight)])

    def scores(self, state: Any) -> Any:
        # Below float32's largest number.
        return ops.exp(ops.minimum(ops.divide_no_nan(state[0], state[1]), 88.0))
