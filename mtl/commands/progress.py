"""Progress of a training on a console."""

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mtl.reports.metrics import main_metrics, shown

__all__ = ["EpochProgress"]


class EpochProgress(keras.callbacks.Callback):
    """Callback that shows a bar during an epoch, and then its loss and each task's main figures.

    Args:
        console: console for the output; the bar is shown only on a terminal.
        tasks: names of the tasks.
        validated: names of the tasks with labelled validation data.
    """

    def __init__(self, console: Console, tasks: Sequence[str], validated: Iterable[str] = ()):
        super().__init__()
        self.console = console
        self.tasks = tuple(tasks)
        self.validated = frozenset(validated)
        self._bar: Progress | None = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._start = self._shown = time.perf_counter()
        self._bar = bar = Progress(
            TextColumn(f"Epoch {epoch + 1}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[loss]}"),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._row = bar.add_task("", total=self.params.get("steps"), loss="")
        bar.start()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        now = time.perf_counter()
        if self._bar is not None and now - self._shown > 0.5:  # Reading the loss waits for the step.
            self._shown = now
            self._bar.update(self._row, completed=batch + 1, loss=f"loss {float((logs or {})['loss']):.4f}")

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self.stop()
        logs = logs or {}
        seconds = time.perf_counter() - self._start
        self.console.print(
            f"Epoch {epoch + 1}: {_pair('loss', 'loss', logs, bool(self.validated))}, {seconds:.0f} s", highlight=False
        )
        for task in self.tasks:
            mine = {name.removeprefix(f"{task}_"): name for name in logs if name.startswith(f"{task}_")}
            figures = ["loss", *main_metrics({name: logs[key] for name, key in mine.items() if name != "loss"}, most=2)]
            line = ", ".join(_pair(name, mine[name], logs, task in self.validated) for name in figures if name in mine)
            self.console.print(f"  {task}: {line}", highlight=False, soft_wrap=True)

    def stop(self) -> None:
        """Remove the bar, if there is one."""
        if self._bar is not None:
            self._bar.stop()


def _pair(name: str, key: str, logs: Mapping[str, Any], validated: bool) -> str:
    text = f"{name} {_shown(logs[key])}"
    return f"{text} (validation {_shown(logs[f'val_{key}'])})" if validated and f"val_{key}" in logs else text


def _shown(value: Any) -> str:
    """Return a figure as text; NaN means no rows."""
    return "not measured" if math.isnan(value := float(value)) else shown(value)
