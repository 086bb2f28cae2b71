"""The weights of the best epoch."""

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from mtl.utils import less_is_better, unknown_name

__all__ = ["BestModel"]


class BestModel(keras.callbacks.Callback):
    """Keeps the weights of the epoch that is best by one figure, or by the mean of several, and restores them at the end.

    An epoch without the figures (one without validation), or where they are not finite, is passed over.

    Args:
        path: where the best model is kept as well, at every improvement: `NAME.keras` for the model, `NAME.weights.h5` for its
            weights; None to keep it in memory only. Of several machines the chief writes.
        monitor: the name of a figure in the logs, or several names.
        mode: `"min"`, `"max"`, or `"auto"`: less is better for losses, errors and perplexity, and more for all others.

    Attributes:
        best: the best value, None before the first.
        best_epoch: its epoch, counted from 0.

    Raises:
        ValueError: another ending of the path, an unknown mode or figure, or figures of both kinds together.

    Example:

    >>> import mtl
    >>> best = mtl.callbacks.BestModel("best.keras", monitor=["val_topic_accuracy", "val_ner_span_f1"])
    >>> best.mode
    'max'
    """

    def __init__(self, path: str | os.PathLike | None = None, monitor: str | Sequence[str] = "val_loss", mode: str = "auto"):
        super().__init__()
        if path is not None and not str(path).endswith((".keras", ".weights.h5")):
            raise ValueError(f"BestModel expects a path that ends in .keras or .weights.h5; got '{path}'.")
        if mode not in ("auto", "min", "max"):
            raise unknown_name("mode", mode, ("auto", "min", "max"))
        self.path = None if path is None else Path(path)
        self.monitor = (monitor,) if isinstance(monitor, str) else tuple(monitor)
        if not self.monitor:
            raise ValueError("BestModel expects at least one figure to monitor; got none.")
        modes = {"min" if less_is_better(name) else "max" for name in self.monitor}
        if mode == "auto" and len(modes) > 1:
            raise ValueError(
                f"Less is better for some of {list(self.monitor)}, and more for others, so their mean says nothing. "
                "Monitor figures of one kind, or give mode='min' or 'max'."
            )
        self.mode = modes.pop() if mode == "auto" else mode

    def on_train_begin(self, logs: Any = None) -> None:
        self.best: float | None = None
        self.best_epoch: int | None = None
        self._weights: list[np.ndarray] | None = None

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        logs = logs or {}
        for name in self.monitor:
            if name.removeprefix("val_") not in logs and name not in logs:
                raise unknown_name("figure to monitor", name, {*logs, *(f"val_{each}" for each in logs if each[:4] != "val_")})
            if name not in logs:
                return
        value = float(np.mean([float(logs[name]) for name in self.monitor]))
        sign = 1.0 if self.mode == "max" else -1.0
        if np.isfinite(value) and (self.best is None or sign * value > sign * self.best):
            self.best, self.best_epoch, self._weights = value, epoch, self.model.get_weights()
            if self.path is not None and self.model.distribute_strategy.extended.should_checkpoint:
                self._save(self.path)

    def _save(self, path: Path) -> None:
        """The file holds the old model or the new one, never a part."""
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".writing.{path.name}")
        if path.name.endswith(".weights.h5"):
            self.model.save_weights(beside, overwrite=True)
        else:
            self.model.save(beside, overwrite=True)
        os.replace(beside, path)

    def on_train_end(self, logs: Any = None) -> None:
        if self._weights is None:
            warnings.warn(
                f"No epoch had finite figures {list(self.monitor)}, so the weights stay the last epoch's. "
                "Give fit the data that they come from, such as validation_data=...",
                stacklevel=2,
            )
            return
        self.model.set_weights(self._weights)
        self._weights = None
