"""Callback that reports the end of an epoch to the balancer."""

from collections.abc import Mapping
from typing import Any

import keras

from mtl.training.protocols import TrainableModel

__all__ = ["Epochs"]


class Epochs(keras.callbacks.Callback):
    """Callback that reports to the balancer the end of each epoch of training, with the tasks' metrics.

    A task's metric is the one that its head names as `progress`, on the training rows; a task without rows has none.
    """

    model: TrainableModel
    _rows: Any = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._rows = None

    def on_test_begin(self, logs: Any = None) -> None:
        if self._rows is None:  # The values of the training: evaluation resets them after this.
            self._rows = self.model.task_losses.rows()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        model, logs = self.model, logs or {}
        model.balancer.after_epoch()
        if model.balancer.uses_metrics:
            metrics = [logs[f"{task}_{model.head_of(task).progress}"] for task in model.task_names]
            rows = self.model.task_losses.rows() if self._rows is None else self._rows
            model.balancer.observe(metrics, rows > 0)

    @classmethod
    def before(cls, callbacks: Any, model: TrainableModel) -> Any:
        """Return callbacks of `fit` with this one first, so that the others save and show the state after its call."""
        if not isinstance(callbacks, keras.callbacks.CallbackList):
            return [cls(), *(callbacks if isinstance(callbacks, (list, tuple)) else [callbacks] if callbacks else [])]
        if not any(isinstance(callback, cls) for callback in callbacks.callbacks):
            callbacks.callbacks.insert(0, cls())
            callbacks.set_model(model)
        return callbacks
