"""The base of metrics in the graph."""

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from mtl.utils.arguments import checked

__all__ = ["TaskMetric"]


class TaskMetric(keras.metrics.Metric):
    """A metric whose state is a sum of per-batch statistics.

    `statistics` is pure: a batch -> one float32 array. The state is the sum of those arrays over batches, and `result` a
    function of that sum; so the statistics of several replicas add up exactly. What is accumulated is their sum, on each of them.

    Args:
        shape: the shape of the statistics.
    """

    @checked
    def __init__(self, shape: tuple[int, ...], name: str | None = None, **kwargs: Any):
        super().__init__(name=name, **kwargs)
        self.total = self.add_variable(shape, "zeros", dtype="float32", aggregation="only_first_replica", name="total")

    def statistics(self, target: Any, outputs: Any, weight: Any, features: Mapping[str, Any]) -> Any:
        """The batch's contribution; rows or tokens with weight 0 contribute nothing."""
        raise NotImplementedError

    def accumulate(self, statistics: Any) -> None:
        """Adds one batch's statistics."""
        self.total.assign_add(ops.cast(statistics, "float32"))

    def update_state(self, target: Any, outputs: Any, weight: Any, features: Mapping[str, Any]) -> None:
        self.accumulate(self.statistics(target, outputs, weight, features))
