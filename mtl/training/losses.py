"""Metric of the losses of a model's tasks."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mtl.balancing.balancer import Balancer

__all__ = ["TaskLosses"]


class TaskLosses(keras.metrics.Metric):
    """Metric of the tasks' losses over all labelled rows so far, and of the balancer's combination of them.

    A task's loss is the sum of its rows' weighted losses divided by the sum of their weights, so neither it nor the combined loss
    depends on how rows are divided into batches, in training or in evaluation. Penalties, such as those of regularizers, are
    added as their mean over steps.

    Args:
        tasks: names of the tasks.
    """

    def __init__(self, tasks: Sequence[str], name: str = "task_losses", **kwargs: Any):
        super().__init__(name=name, **kwargs)
        self.tasks = tuple(tasks)
        self.sums = self._total("sums", len(self.tasks))
        self.weights = self._total("weights", len(self.tasks))
        self.combined = self._total("combined")
        self.penalties = self._total("penalties")
        self.steps = self._total("steps")
        self.counts = self._total("counts", len(self.tasks) + 3)

    def _total(self, name: str, *shape: int) -> keras.Variable:
        # Added values are sums over the replicas already, so each replica has the total.
        # Float32 counts are exact only up to 2^24.
        return self.add_variable(shape, "zeros", dtype="float64", aggregation="only_first_replica", name=name)

    def accumulate(self, sums: Any, weights: Any, penalty: Any, counts: Any) -> None:
        """Add a step.

        Args:
            sums: each task's weighted sum of losses, float32 `[K]`.
            weights: each task's sum of weights, float32 `[K]`.
            penalty: the sum of the terms added to the tasks' losses, a float32 scalar.
            counts: the rows labelled for each task, all rows, all tokens, and all positions for tokens, float32 `[K + 3]`.
        """
        counts = ops.cast(counts, "float64")
        self.sums.assign_add(ops.cast(sums, "float64"))
        self.weights.assign_add(ops.cast(weights, "float64"))
        self.penalties.assign_add(ops.cast(penalty, "float64"))
        self.steps.assign_add(ops.cast(counts[len(self.tasks)] > 0, "float64"))  # A skipped step counts no rows.
        self.counts.assign_add(counts)

    def combine_by(self, balancer: Balancer) -> None:
        """Set the combined loss to a balancer's combination of the tasks' losses so far."""
        losses = ops.cast(ops.divide_no_nan(self.sums, self.weights), "float32")
        self.combined.assign(ops.cast(balancer.combine(losses, self.weights > 0, training=False), "float64"))

    def rows(self) -> np.ndarray:
        """Number of rows labelled for each task so far, `[K]`."""
        return ops.convert_to_numpy(self.counts)[: len(self.tasks)]

    def realised(self) -> tuple[dict[str, float], float]:
        """Return task -> the share of rows labelled for it so far, and the share of tokens that are padding."""
        *labelled, rows, tokens, positions = ops.convert_to_numpy(self.counts).tolist()
        shares = {task: count / max(1.0, rows) for task, count in zip(self.tasks, labelled, strict=True)}
        return shares, 1.0 - tokens / positions if positions else 0.0

    def update_state(self, sums: Any, weights: Any, penalty: Any, counts: Any) -> None:
        self.accumulate(sums, weights, penalty, counts)

    def result(self) -> dict[str, Any]:
        """Return `loss`, and `TASK_loss` for each task, in float32; NaN without labelled rows."""
        seen = self.weights > 0
        whole = self.combined + ops.divide_no_nan(self.penalties, self.steps)
        losses = ops.where(seen, ops.divide_no_nan(self.sums, self.weights), float("nan"))
        result = {"loss": ops.where(ops.any(seen), whole, float("nan"))}
        result.update({f"{task}_loss": losses[i] for i, task in enumerate(self.tasks)})
        return {name: ops.cast(value, "float32") for name, value in result.items()}
