"""Checkpoints from which an interrupted training continues."""

import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from mtl.training.keras_internals.data_adapters import ResumableAdapter, split_validation, unrepeatable
from mtl.training.keras_internals.strategies import several_processes, strategy_of
from mtl.training.replicas import agreed
from mtl.training.resume import snapshots
from mtl.training.resume.epoch_batches import epoch_batches
from mtl.training.resume.state import read_callbacks, read_variables, whole_states, write_callbacks, write_variables
from mtl.utils.arguments import checked
from mtl.utils.atomic_write import remove_rests
from mtl.utils.types import Count, Positive, Size

__all__ = ["Checkpoint"]

#: Signals that are handled: that of schedulers to end a process, and Ctrl-C.
SIGNALS = (signal.SIGTERM, signal.SIGINT)
#: Seconds that a process with such a signal waits for the chief to save and exit.
GRACE = 10.0


class Checkpoint(keras.callbacks.Callback):
    """Callback that saves the whole state of a training, from which `fit` continues when the same program is started again.

    A run that was killed at any moment and started again ends with the results of an uninterrupted run, bit by bit: weights,
    optimizer, balancer, random numbers, history, early stopping, best model, and the points of `TaskBoard`. That needs a program
    that does the same each time (seeds set, and on GPUs `tf.config.experimental.enable_op_determinism()`), the same callbacks,
    and data whose order depends on the epoch alone: `mtl.data.mix`, arrays, which are then shuffled by `seed` and the epoch, or a
    `tf.data.Dataset` with a fixed order, of which the batches before the checkpoint are read again.

    The callback saves at the beginning, at the end, and at the given intervals, by default after each epoch. After SIGTERM or
    Ctrl-C it saves at the end of the current step of training or validation and ends the process by `SystemExit` with status
    143, or by `KeyboardInterrupt`; a validation is then repeated. A second Ctrl-C ends the process at once. A damaged checkpoint
    is skipped, and the previous one used. Under `tf.distribute` the chief writes and all processes read, so the folder must be on
    a shared disk. Other files in the folder are not changed.

    The state of your own callbacks is saved if they have `state() -> dict` (of numbers, texts, lists and arrays) and
    `restore(state)`; other callbacks start again.

    Args:
        folder: folder of the checkpoints of this training, and of no other.
        every_steps: steps between two checkpoints.
        every_minutes: minutes between two checkpoints.
        keep: number of checkpoints to keep.
        seed: seed of the order of arrays.

    Raises:
        ValueError: a number out of its range; in `fit`, data that cannot start at a step, checkpoints of another training, or a
            callback that freezes or unfreezes weights.
        NotADirectoryError: the folder is a file.

    Example:

    >>> import numpy as np, mtl
    >>> encoder = mtl.encoders.Recurrent(vocabulary_size=9, embedding=4, units=4)
    >>> model = mtl.MultiTaskModel(encoder, mtl.Task("mood", mtl.heads.Classification(2)))
    >>> model.compile("adam")
    >>> x, y = np.ones((4, 6), "int32"), np.zeros(4, "int32")
    >>> history = model.fit(x, y, epochs=2, callbacks=[mtl.callbacks.Checkpoint("checkpoints")], verbose=0)
    >>> sorted(os.listdir("checkpoints"))
    ['epoch-000000-step-00000000', 'epoch-000001-step-00000000', 'epoch-000002-step-00000000']
    """

    @checked
    def __init__(
        self,
        folder: str | os.PathLike,
        *,
        every_steps: Count | None = None,
        every_minutes: Positive | None = None,
        keep: Count = 3,
        seed: Size = 0,
    ):
        super().__init__()
        self.folder = Path(folder)
        self.every_steps, self.every_minutes, self.keep, self.seed = every_steps, every_minutes, keep, seed
        self._found: snapshots.Snapshot | None = None
        self._told: tuple[int, float] | None = None

    # Around fit ---------------------------------------------------------------------------------------------------

    @contextmanager
    def going_on(self, model: keras.Model, given: dict[str, Any], callbacks: list[Any]) -> Iterator[dict[str, Any]]:
        """Yield the arguments of a `fit` that starts at the newest checkpoint, and handle signals in the context."""
        if (steps := given.get("steps_per_epoch")) is not None:
            raise ValueError(
                f"fit takes no steps_per_epoch beside a Checkpoint; got {steps!r}. "
                "Give mix(..., steps=...), or a dataset of one epoch."
            )
        self._found, self._torn = _newest(self.folder, model)
        begin = {"epoch": given.get("initial_epoch", 0), "step": 0, "stopped": False}
        state = self._found.state if self._found else begin
        place = (state["epoch"], state["step"])
        if not agreed(model.distribute_strategy, place):
            raise ValueError(
                f"The processes found different checkpoints in '{self.folder}'; this one: epoch {place[0]}, step {place[1]}. "
                "Give all of them a folder that they share."
            )
        self._first, self._writes = place[0], bool(model.distribute_strategy.extended.should_checkpoint)
        given = self._placed(dict(given), *place)
        given["initial_epoch"] = given.get("epochs", 1) if state["stopped"] else place[0]
        others = [callback for callback in callbacks if callback is not self]
        if not any(isinstance(callback, keras.callbacks.History) for callback in others):
            others.append(keras.callbacks.History())
        # Last, so that it saves the other callbacks' states after their own calls.
        self._others, given["callbacks"] = others, [*others, self]
        self._last = self._found.name if self._found else ""
        with self._listening():
            try:
                yield given
            except tf.errors.OpError:
                if self._told is None or not several_processes(strategy_of(model)):
                    raise
                raise self._ending() from None  # The chief, which got the signal too, has exited.
            if self._told is not None:  # The signal came after the last step; everything is saved.
                raise self._ending()

    def _placed(self, given: dict[str, Any], epoch: int, step: int) -> dict[str, Any]:
        """Return arguments of `fit` whose `x` starts at an epoch and step."""
        arrays = (given.pop("x", None), given.pop("y", None), given.pop("sample_weight", None))
        if (share := given.pop("validation_split", 0.0)) and given.get("validation_data") is None:
            arrays, given["validation_data"] = split_validation(arrays, share)
        if (batch_size := given.pop("batch_size", None)) is not None:
            given.setdefault("validation_batch_size", batch_size)
        epochs = epoch_batches(
            arrays,
            unrepeatable=unrepeatable,
            batch_size=batch_size,
            shuffle=given.pop("shuffle", True),
            seed=self.seed,
        )
        self._data = epochs.made_of
        if self._found and (data := self._found.state["data"]) != self._data:
            raise ValueError(
                f"The checkpoints in '{self.folder}' are of a training with {data}; got {self._data}. "
                "Give Checkpoint another folder, or delete this one to begin anew."
            )
        return {**given, "x": ResumableAdapter(epochs, epoch, step)}

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Record the first signal in the context; signals that the process ignores, as in the background, stay ignored."""
        self._told = None
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            listened = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._tell) for number in listened}
        try:
            yield
        finally:
            for number, before in self._before.items():
                signal.signal(number, before)

    def _tell(self, number: int, _: Any) -> None:
        self._told = self._told or (number, time.monotonic())
        if number == signal.SIGINT:
            signal.signal(number, self._before[number])
            if self._writes:  # Unlike print, this call is allowed at any moment.
                os.write(2, b"\nEnding after this step, and saving. Ctrl-C again ends at once.\n")

    def _ending(self) -> BaseException:
        """Return the exception that ends a training after a signal."""
        assert self._told is not None
        said = (
            f"Saved in '{self.folder / self._last}'. Start the same training again to go on from there." if self._writes else ""
        )
        if self._told[0] == signal.SIGINT:
            return KeyboardInterrupt(said)
        print(said, end="\n" if said else "", file=sys.stderr, flush=True)
        return SystemExit(128 + self._told[0])

    # When ---------------------------------------------------------------------------------------------------------

    def on_train_begin(self, logs: Any = None) -> None:
        if self._writes:
            for name in self._torn:
                snapshots.remove(self.folder / name)
            remove_rests(self.folder, seconds=0.0)
        if self._torn:
            warnings.warn(
                f"The checkpoint {self._torn[0]} in '{self.folder}' is not whole; going on from {self._last}.", stacklevel=2
            )
        self._since, self._saved, self._trained = 0, time.monotonic(), list(map(id, self.model.trainable_variables))
        if self._found is None:
            self._save(self._first, 0)
        else:
            self._restore()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch, self._done = epoch, 0
        if self._found is not None and self._found.state["step"]:  # In the middle of an epoch; Keras has just reset its sums.
            self._done = self._found.state["step"]
            self._restore()
        self._found = None

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._since += batch + 1 - self._done
        self._done = batch + 1
        if self.model.stop_training:  # The end of this epoch follows, and saves.
            return
        if self._told is not None or self._due():
            self._save(self._epoch, batch + 1)
        self._end_if_told()

    def on_test_begin(self, logs: Any = None) -> None:
        # The values of the training: evaluation resets them after this.
        self._counted = read_variables(self.model.metrics_variables)

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        if self._told is not None and not self.model.stop_training:
            write_variables(self.model.metrics_variables, self._counted)
            self._save(self._epoch, self._done)
            self._end_if_told()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        last = epoch + 1 == self.params["epochs"] or self.model.stop_training
        if self._told is not None or last or self._due() or not (self.every_steps or self.every_minutes):
            self._save(epoch + 1, 0)
        self._end_if_told()

    def _due(self) -> bool:
        minutes = (time.monotonic() - self._saved) / 60
        return self._since >= (self.every_steps or float("inf")) or minutes >= (self.every_minutes or float("inf"))

    def _end_if_told(self) -> None:
        # The chief exits once it has saved, which ends the others; they exit first only if it got no signal.
        if self._told is not None and (self._writes or time.monotonic() - self._told[1] > GRACE):
            raise self._ending()

    # What ---------------------------------------------------------------------------------------------------------

    def _save(self, epoch: int, step: int) -> None:
        name = snapshots.name_of(epoch, step)
        self._since, self._saved = 0, time.monotonic()
        if name == self._last or not self._writes:
            return
        if list(map(id, self.model.trainable_variables)) != self._trained:
            raise ValueError(
                "What is trained has changed since fit began, and a training started again could not go on from there. "
                "Freeze or unfreeze between two calls of fit, each with a folder of its own, or leave the Checkpoint out."
            )
        remembered, arrays = read_callbacks(self._others)
        place = {"epoch": epoch, "step": step, "data": self._data, "stopped": bool(self.model.stop_training)}
        state = {**place, "callbacks": remembered}
        snapshots.write(self.folder, name, {**read_variables(self.model.training_state()), **arrays}, state, self.keep)
        self._last = name

    def _restore(self) -> None:
        assert self._found is not None
        write_variables(self.model.training_state(), self._found.arrays)
        write_callbacks(self._others, self._found.state["callbacks"], self._found.arrays)


def _newest(folder: Path, model: keras.Model) -> tuple[snapshots.Snapshot | None, list[str]]:
    """Return the newest snapshot of a training of this model, and the names of newer ones that are damaged.

    Raises:
        ValueError: there are snapshots, and all are damaged.
    """

    def fits(snapshot: snapshots.Snapshot) -> None:
        _check(snapshot)
        for number, variable in enumerate({id(variable): variable for variable in model.variables}.values()):
            if snapshot.arrays[f"variable/{number}"].shape != tuple(variable.shape):
                raise ValueError(f"'{variable.path}' has another shape")

    found, torn = snapshots.newest(folder, fits)
    if found is None:  # All may be of another model, which is reported once its optimizer exists.
        found, torn = snapshots.newest(folder, _check)
    if torn and found is None:
        raise ValueError(f"No checkpoint in '{folder}' is whole. Delete the folder to begin anew.")
    return found, torn


def _check(snapshot: snapshots.Snapshot) -> None:
    """Raise a `ValueError`, `KeyError` or `TypeError` for a snapshot that no training wrote, though its checksum is valid."""
    state = snapshot.state
    if snapshot.name != snapshots.name_of(state["epoch"], state["step"]):
        raise ValueError("the place is another one than the name says")
    if not isinstance(state["data"], str) or not isinstance(state["stopped"], bool):
        raise TypeError("what the training was is not said")
    if any(array.dtype.kind not in "biufV" for array in snapshot.arrays.values()):
        raise TypeError("an array does not hold numbers")
    whole_states(state["callbacks"], snapshot.arrays)
