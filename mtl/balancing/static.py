"""Fixed weights."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from mtl.balancing.balancer import Balancer
from mtl.utils import unknown_name

__all__ = ["Static"]

REDUCTIONS = ("sum", "mean")


@keras.saving.register_keras_serializable("mtl")
class Static(Balancer):
    """Fixed weights: `L = sum_t w_t L_t`, or with `reduction="mean"` that over `sum_t w_t`.

    Both sums are over the tasks that have a labelled row in the batch.

    Args:
        weights: task -> weight, at least 0; 1 for tasks not named.
        reduction: `"sum"` or `"mean"`.

    Raises:
        ValueError: a negative weight, an unknown reduction, or (from `connect`) an unknown task.

    Example:

    >>> import mtl
    >>> balancer = mtl.balancing.Static({"a": 2.0})
    >>> balancer.connect(["a", "b"])
    >>> float(balancer.combine([0.5, 3.0], [True, True]))
    4.0
    """

    def __init__(self, weights: Mapping[str, float] | None = None, reduction: str = "sum"):
        if reduction not in REDUCTIONS:
            raise unknown_name("reduction", reduction, REDUCTIONS)
        self.weights = {task: float(weight) for task, weight in (weights or {}).items()}
        for task, weight in self.weights.items():
            if not weight >= 0:
                raise ValueError(f"Static expects weights of at least 0; got {weight} for task '{task}'.")
        self.reduction = reduction

    def connect(self, tasks: Sequence[str]) -> None:
        for task in self.weights:
            if task not in tasks:
                raise unknown_name("task in the balancer's weights", task, tasks)
        self._tasks = tuple(tasks)
        self._values = [self.weights.get(task, 1.0) for task in tasks]

    def combine(self, losses: Any, active: Any) -> Any:
        weights = ops.cast(active, "float32") * ops.convert_to_tensor(self._values, "float32")
        total = ops.sum(weights * ops.cast(losses, "float32"))
        if self.reduction == "sum":
            return total
        return ops.divide_no_nan(total, ops.sum(weights))

    def current_weights(self) -> dict[str, float]:
        total = (sum(self._values) or 1.0) if self.reduction == "mean" else 1.0
        return {task: value / total for task, value in zip(self._tasks, self._values, strict=True)}

    def subset(self, tasks: Sequence[str]) -> "Static":
        return Static({task: weight for task, weight in self.weights.items() if task in tasks}, self.reduction)

    def get_config(self) -> dict[str, Any]:
        return {"weights": self.weights, "reduction": self.reduction}
