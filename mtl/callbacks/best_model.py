"""Callback that keeps the weights of the best epoch."""

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from mtl.utils import less_is_better, unknown_name
from mtl.utils.arguments import checked
from mtl.utils.atomic_write import atomic_write, made_folder
from mtl.utils.types import Count

__all__ = ["BestModel"]


class BestModel(keras.callbacks.Callback):
    """Callback that keeps the weights of the epoch that is best by one or several figures, and restores them at the end.

    Several figures `m` are combined by their mean, `sum_i w_i m_i / sum_i w_i`, or by the worst of them. With a `baseline` b,
    each figure is first converted to its relative gain, `s (m - b) / |b|`, where s is -1 for figures of which less is better. An
    epoch is skipped if it lacks a figure (for instance without validation), or if a figure is NaN (no row was labelled for it). A
    warning names a figure that no epoch has had so far.

    Args:
        path: file to which the best model is written at every improvement: `NAME.keras` for the model, `NAME.weights.h5` for its
            weights; None to keep it in memory only. With several machines, only the chief writes.
        monitor: the name of a figure in the logs, or several names.
        mode: `"min"`, `"max"`, or `"auto"`: less is better for losses, errors and perplexity, and more for all others.
        baseline: figure -> value to compare it with, such as that of a single-task model, not 0; for all figures or for none.
        combine: `"mean"`, or `"worst"`, the worst figure (or gain).
        weights: figure -> its weight `w` in the mean, above 0; 1 for figures that are left out.
        patience: number of epochs without an improvement after which training stops; None to train all epochs.
        stop: what counts as an improvement for `patience`: `"best"`, a better epoch; `"any"`, an epoch that is better by any of
            the figures, so that training stops when none of them improves.
        each: whether to keep the best model by each of the figures too, such as one per task, as `NAME.FIGURE.keras` or
            `NAME.FIGURE.weights.h5`.

    Attributes:
        best: the best value; None before the first.
        best_epoch: the epoch of the best value, counted from 0.
        best_of_each: figure -> its best value and the epoch of that value.

    Raises:
        ValueError: a path with another suffix, an unknown mode or figure, figures of both kinds together, a baseline that does
            not fit, or a number out of its range.

    Example:

    >>> import mtl
    >>> best = mtl.callbacks.BestModel("best.keras", monitor=["val_topic_accuracy", "val_ner_span_f1"], patience=3)
    >>> best.mode
    'max'

    Reference:
        Mean relative gain: Maninis, Radosavovic and Kokkinos, "Attentive Single-Tasking of Multiple Tasks", CVPR 2019.
    """

    @checked
    def __init__(
        self,
        path: str | os.PathLike | None = None,
        monitor: str | Sequence[str] = "val_loss",
        mode: str = "auto",
        *,
        baseline: Mapping[str, float] | None = None,
        combine: str = "mean",
        weights: Mapping[str, float] | None = None,
        patience: Count | None = None,
        stop: str = "best",
        each: bool = False,
    ):
        super().__init__()
        if path is not None and not str(path).endswith((".keras", ".weights.h5")):
            raise ValueError(f"BestModel expects a path that ends in .keras or .weights.h5; got '{path}'.")
        if mode not in ("auto", "min", "max"):
            raise unknown_name("mode", mode, ("auto", "min", "max"))
        if combine not in ("mean", "worst"):
            raise unknown_name("way to combine figures", combine, ("mean", "worst"))
        if stop not in ("best", "any"):
            raise unknown_name("reason to stop", stop, ("best", "any"))
        if each and path is None:
            raise ValueError("BestModel keeps the best model of each figure in files: give it a path, or leave `each` out.")
        self.path = None if path is None else Path(path)
        self.monitor = (monitor,) if isinstance(monitor, str) else tuple(monitor)
        self.baseline, self.patience, self.each = None if baseline is None else dict(baseline), patience, each
        self.combine, self.weights, self.stop = combine, None if weights is None else dict(weights), stop
        if not self.monitor:
            raise ValueError("BestModel expects at least one figure to monitor; got none.")
        if self.baseline is not None and (set(self.baseline) != set(self.monitor) or not all(self.baseline.values())):
            raise ValueError(f"BestModel expects a baseline other than 0 for each of {list(self.monitor)}; got {self.baseline}.")
        if self.weights is not None:
            if combine == "worst":
                raise ValueError(
                    "BestModel expects weights for combine='mean'; the worst figure has none. Leave one of them out."
                )
            for name, weight in self.weights.items():
                if name not in self.monitor:
                    raise unknown_name("figure in weights", name, self.monitor)
                if not 0 < weight < np.inf:
                    raise ValueError(f"BestModel expects finite weights above 0; got {weight} for '{name}'.")
        self._modes = {name: mode if mode != "auto" else "min" if less_is_better(name) else "max" for name in self.monitor}
        modes = {"max"} if baseline is not None else set(self._modes.values())
        if len(modes) > 1:
            raise ValueError(
                f"Less is better for some of {list(self.monitor)}, and more for others, so their {combine} says nothing. "
                "Monitor figures of one kind, or give mode='min' or 'max', or a baseline."
            )
        self.mode = modes.pop()
        self.best: float | None = None
        self.best_epoch: int | None = None
        self._weights: list[np.ndarray] | None = None
        self._waited = 0
        self.best_of_each: dict[str, tuple[float, int]] = {}
        self._told: set[str] = set()

    def on_train_begin(self, logs: Any = None) -> None:
        self.restore({"best": None, "best_epoch": None, "weights": None, "waited": 0, "of_each": {}})
        self._told = set()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        logs = logs or {}
        for name in self.monitor:
            if name.removeprefix("val_") not in logs and name not in logs:
                raise unknown_name("figure to monitor", name, {*logs, *(f"val_{key}" for key in logs if key[:4] != "val_")})
            if name not in logs:
                return
        figures = {name: float(logs[name]) for name in self.monitor}
        value = self._together(figures)
        better = _better(value, self.best, self.mode)
        if better:
            self.best, self.best_epoch, self._weights = value, epoch, self.model.get_weights()
            self._save()
        for name in self.monitor:
            if _better(figures[name], self.best_of_each.get(name, (None,))[0], self._modes[name]):
                self.best_of_each[name] = figures[name], epoch
                better |= self.stop == "any"
                if self.each:
                    self._save(f"{name}.")
        self._tell(figures)
        self._waited = 0 if better else self._waited + bool(self.best_of_each)  # The patience starts at the first figure.
        if self.patience is not None and self._waited >= self.patience:
            self.model.stop_training = True

    def _together(self, figures: Mapping[str, float]) -> float:
        values = dict(figures)
        if self.baseline is not None:
            signs = {name: 1.0 if mode == "max" else -1.0 for name, mode in self._modes.items()}
            values = {name: signs[name] * (figures[name] - b) / abs(b) for name, b in self.baseline.items()}
        if self.combine == "worst":
            return float(np.min(list(values.values())) if self.mode == "max" else np.max(list(values.values())))
        return float(np.average(list(values.values()), weights=[(self.weights or {}).get(name, 1.0) for name in values]))

    def _tell(self, figures: Mapping[str, float]) -> None:
        """Warn once of a figure that no epoch has had."""
        absent = {name for name, value in figures.items() if np.isnan(value) and name not in self.best_of_each} - self._told
        self._told |= absent
        if absent:
            names = ", ".join(f"'{name}'" for name in sorted(absent))
            warnings.warn(
                f"BestModel expects a number for {names}; got NaN: no row of the epoch was labelled for it, or no step "
                "counted. Epochs without it are passed over: give fit data that are labelled for it, or monitor another figure.",
                stacklevel=2,
            )

    def state(self) -> dict[str, Any]:
        """Return the best values and weights so far, for `Checkpoint`."""
        state = {"best": self.best, "best_epoch": self.best_epoch, "weights": self._weights}
        return {**state, "waited": self._waited, "of_each": self.best_of_each}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a result of `state`."""
        self.best, self.best_epoch, self._weights = state["best"], state["best_epoch"], state["weights"]
        self._waited, self.best_of_each = state["waited"], {name: tuple(best) for name, best in state["of_each"].items()}

    def _save(self, figure: str = "") -> None:
        """Save the model; the file always holds the old model or the new one, never a part."""
        if self.path is None or not self.model.distribute_strategy.extended.should_checkpoint:
            return
        ending = ".weights.h5" if self.path.name.endswith(".weights.h5") else ".keras"
        path = self.path.with_name(f"{self.path.name.removesuffix(ending)}.{figure}{ending[1:]}")
        made_folder(path.parent)
        with atomic_write(path) as beside:
            if ending == ".keras":
                self.model.save(beside, overwrite=True)
            else:
                self.model.save_weights(beside, overwrite=True)

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


def _better(value: float, than: float | None, mode: str) -> bool:
    return bool(np.isfinite(value)) and (than is None or (value > than if mode == "max" else value < than))
