"""Base class of metrics in the graph."""

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from mtl.utils.arguments import checked

__all__ = ["TaskMetric"]


class TaskMetric(keras.metrics.Metric):
    """Base class of metrics whose state combines per-batch statistics.

    `statistics` is a pure function from a batch to one float32 array. The state, in float64, is the sum of those arrays over
    batches and replicas, and `scores` is a pure function of it. A metric whose statistics cannot be summed sets
    `additive = False` and defines `merge`. A state of zeros contains no row: all results are then NaN.

    To add a metric, subclass it, define `statistics` and `scores`, and give it to a head: `Regression(metrics=[...])`.

    Args:
        shape: the shape of the statistics.

    Returns:
        `result()`: the result of `scores`, in float32; NaN before the first row.

    Example:

    >>> import numpy as np
    >>> class Bias(TaskMetric):  # The mean of prediction minus target.
    ...     def __init__(self, name="bias", **kwargs):
    ...         super().__init__((2,), name=name, **kwargs)
    ...     def statistics(self, target, outputs, weight, features):
    ...         return ops.stack([ops.sum(weight * (outputs - target)), ops.sum(weight)])
    ...     def scores(self, state):
    ...         return state[0] / state[1]
    >>> metric = Bias()
    >>> float(metric.result())
    nan
    >>> metric.update_state(np.array([1.0, 9.0]), np.array([3.0, 0.0]), np.array([1.0, 0.0]), {})
    >>> float(metric.result())
    2.0
    """

    #: Whether the sum of the statistics of two batches is that of both batches together.
    additive = True

    @checked
    def __init__(self, shape: tuple[int, ...], name: str | None = None, **kwargs: Any):
        super().__init__(name=name, **kwargs)
        # Float32 represents counts exactly only up to 2^24.
        self.total = self.add_variable(shape, "zeros", dtype="float64", aggregation="only_first_replica", name="total")

    def statistics(self, target: Any, outputs: Any, weight: Any, features: Mapping[str, Any]) -> Any:
        """Return the batch's contribution, to which rows or tokens of weight 0 contribute nothing.

        Args:
            target: the targets, as the head's `loss` takes them.
            outputs: outputs of the head's `score`, such as logits.
            weight: float32 `[B]`, or `[B, S]` for targets per token.
            features: the features that the head reads.
        """
        raise NotImplementedError

    def merge(self, parts: Any) -> Any:
        """Return the statistics of several parts together.

        Args:
            parts: float64 `[N, *shape]`, one entry per part; zeros for a part without rows.
        """
        return ops.sum(parts, axis=0)

    def scores(self, state: Any) -> Any:
        """Return the results for a state: a scalar, or name -> scalar.

        Args:
            state: float64, of the statistics' shape, with at least one row in it.
        """
        raise NotImplementedError

    def accumulate(self, statistics: Any) -> None:
        """Add the statistics of a batch: of the statistics' shape, or `[N, *shape]` for those of several replicas."""
        statistics = ops.cast(statistics, "float64")
        if len(statistics.shape) == len(self.total.shape):
            statistics = ops.expand_dims(statistics, 0)
        if self.additive:
            self.total.assign_add(ops.sum(statistics, axis=0))
        else:
            self.total.assign(self.merge(ops.concatenate([ops.expand_dims(self.total, 0), statistics], axis=0)))

    def update_state(self, target: Any, outputs: Any, weight: Any, features: Mapping[str, Any]) -> None:
        self.accumulate(self.statistics(target, outputs, weight, features))

    def result(self) -> Any:
        seen = ops.any(ops.not_equal(self.total, 0.0))
        scores = self.scores(ops.convert_to_tensor(self.total))

        def shown(score: Any) -> Any:
            return ops.where(seen, ops.cast(score, "float32"), float("nan"))

        return {name: shown(score) for name, score in scores.items()} if isinstance(scores, Mapping) else shown(scores)
