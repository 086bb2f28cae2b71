"""Fixed weights."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from mtl.balancing.balancer import Balancer, values_by_task
from mtl.utils import unknown_name
from mtl.utils.arguments import checked

__all__ = ["Static"]

REDUCTIONS = ("sum", "mean")


@keras.saving.register_keras_serializable("mtl")
class Static(Balancer):
    """Fixed weights: `L = sum_t w_t L_t`, divided by `sum_t w_t` with `reduction="mean"`.

    Both sums are over the tasks that have a labelled row in the batch.

    Args:
        weights: task -> weight, at least 0; 1 for tasks not named.
        reduction: `"sum"` or `"mean"`.

    Raises:
        ValueError: a negative weight, an unknown reduction, or (from `bind`) an unknown task.

    Example:

    >>> import mtl
    >>> balancer = mtl.balancing.Static({"a": 2.0})
    >>> balancer.bind(["a", "b"])
    >>> float(balancer.combine([0.5, 3.0], [True, True]))
    4.0
    """

    by_task = ("weights",)

    @checked
    def __init__(self, weights: Mapping[str, float] | None = None, reduction: str = "sum"):
        if reduction not in REDUCTIONS:
            raise unknown_name("reduction", reduction, REDUCTIONS)
        self._given = {task: float(weight) for task, weight in (weights or {}).items()}
        for task, weight in self._given.items():
            if not 0 <= weight < float("inf"):
                raise ValueError(f"Static expects finite weights of at least 0; got {weight} for task '{task}'.")
        self.reduction = reduction

    def _combine(self, losses: Any, active: Any, training: bool) -> Any:
        weights = tf.where(active, values_by_task(self.tasks, self._given, 1.0, losses.dtype), 0)
        total = tf.reduce_sum(weights * losses)
        return total if self.reduction == "sum" else tf.math.divide_no_nan(total, tf.reduce_sum(weights))

    def current_weights(self) -> dict[str, float]:
        values = [self._given.get(task, 1.0) for task in self.tasks]
        total = (sum(values) or 1.0) if self.reduction == "mean" else 1.0
        return {task: value / total for task, value in zip(self.tasks, values, strict=True)}

    def get_config(self) -> dict[str, Any]:
        return {"weights": self._given, "reduction": self.reduction}
