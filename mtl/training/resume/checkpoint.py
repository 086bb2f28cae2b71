"""Training that goes on where it was ended."""

import os
import shutil
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from mtl.training.keras_internals import model_internals
from mtl.training.replicas import agreed
from mtl.training.resume import snapshots
from mtl.training.resume.epoch_batches import epoch_batches
from mtl.training.resume.state import read_callbacks, read_variables, write_callbacks, write_variables

__all__ = ["Checkpoint"]

#: The exit status of a process that SIGTERM ends.
TERMINATED = 128 + signal.SIGTERM
#: Seconds that a process which SIGTERM reaches waits for the chief to save and to leave.
GRACE = 10.0


class Checkpoint(keras.callbacks.Callback):
    """Saves the whole state of a training, and has `fit` go on from it: the same command, started again, ends the same.

    What a run that was killed at any moment ends with, once it was started again, is bit by bit what one that was never killed
    ends with: weights, optimizer, balancer, random numbers, history, early stopping, best model, and the points of `TaskBoard`.
    That needs a program that does the same each time (seeds set, and on GPUs
    `tf.config.experimental.enable_op_determinism()`), the same callbacks, and data whose order depends on the epoch alone:
    `mtl.data.mix`, arrays, which are then shuffled by `seed` and the epoch, or a `tf.data.Dataset` that always comes in one
    order; of the last, what lies before the place is read again.

    Saved is at the beginning, at the end, when SIGTERM comes (the process then exits with status 143), and in between as asked;
    by default after each epoch. A checkpoint that is torn is left out, and the one before it used. Under `tf.distribute` the
    chief writes, and all processes read: the folder is one that all of them see.

    A callback of one's own is taken along where it has `state() -> dict` (of numbers, texts, lists and arrays) and
    `restore(state)`; any other begins anew.

    Args:
        folder: where the checkpoints are, nothing else in it.
        every_steps: steps from one to the next.
        every_minutes: minutes from one to the next.
        keep: how many stay.
        seed: of the order of arrays.

    Raises:
        ValueError: a number out of its range; in `fit`, data that cannot begin at a step, checkpoints of another training, or a
            callback that freezes or unfreezes weights.

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

    def __init__(
        self,
        folder: str | os.PathLike,
        *,
        every_steps: int | None = None,
        every_minutes: float | None = None,
        keep: int = 3,
        seed: int = 0,
    ):
        super().__init__()
        for name, value in {"every_steps": every_steps, "every_minutes": every_minutes, "keep": keep}.items():
            if value is not None and not value > 0:
                raise ValueError(f"Checkpoint expects {name} above 0; got {value}.")
        self.folder = Path(folder)
        self.every_steps, self.every_minutes, self.keep, self.seed = every_steps, every_minutes, keep, seed
        self._found: snapshots.Snapshot | None = None
        self._told: float | None = None

    # Around fit ---------------------------------------------------------------------------------------------------

    @contextmanager
    def going_on(self, model: keras.Model, given: dict[str, Any], callbacks: list[Any]) -> Iterator[dict[str, Any]]:
        """The arguments of a `fit` that begins where the newest checkpoint is; meanwhile SIGTERM is waited for."""
        for name in ("steps_per_epoch", "class_weight"):
            if given.get(name) is not None:
                raise ValueError(
                    f"fit takes no {name} beside a Checkpoint; got {given[name]!r}. "
                    + ("Give mix(..., steps=...), or a dataset of one epoch." if name[0] == "s" else "Give sample_weight.")
                )
        self._found, self._torn = snapshots.newest(self.folder)
        if self._torn and self._found is None:
            raise ValueError(f"No checkpoint in '{self.folder}' is whole. Delete the folder to begin anew.")
        begin = {"epoch": given.get("initial_epoch", 0), "step": 0, "stopped": False}
        state = self._found.state if self._found else begin
        place = (state["epoch"], state["step"])
        if not agreed(model.distribute_strategy, place):
            raise ValueError(
                f"The processes found different checkpoints in '{self.folder}'; this one: epoch {place[0]}, step {place[1]}. "
                "Give all of them a folder that they share."
            )
        self._first = place[0]
        given = self._placed(dict(given), *place)
        given["initial_epoch"] = given.get("epochs", 1) if state["stopped"] else place[0]
        others = [each for each in callbacks if each is not self]
        if not any(isinstance(each, keras.callbacks.History) for each in others):
            others.append(keras.callbacks.History())
        # Last of all, so that the others have had their turn when it saves what they remember.
        self._others, given["callbacks"] = others, [*others, self]
        self._last = self._found.name if self._found else ""
        self._told, listens = None, threading.current_thread() is threading.main_thread()
        before = signal.signal(signal.SIGTERM, self._tell) if listens else None
        try:
            yield given
            if self._told is not None:  # After the last step; all of it is saved.
                raise SystemExit(TERMINATED)
        except tf.errors.OpError:
            if self._told is None or not model_internals.several_processes(model_internals.strategy_of(model)):
                raise
            raise SystemExit(TERMINATED) from None  # The chief, which was told as well, has left.
        finally:
            if listens:
                signal.signal(signal.SIGTERM, before)

    def _placed(self, given: dict[str, Any], epoch: int, step: int) -> dict[str, Any]:
        """Arguments of `fit` whose `x` begins at a place."""
        arrays = (given.pop("x", None), given.pop("y", None), given.pop("sample_weight", None))
        if (share := given.pop("validation_split", 0.0)) and given.get("validation_data") is None:
            arrays, given["validation_data"] = model_internals.split_validation(arrays, share)
        if (batch_size := given.pop("batch_size", None)) is not None:
            given.setdefault("validation_batch_size", batch_size)
        epochs = epoch_batches(
            arrays,
            unrepeatable=model_internals.unrepeatable,
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
        return {**given, "x": model_internals.ResumableAdapter(epochs, epoch, step)}

    def _tell(self, *_: Any) -> None:
        self._told = self._told or time.monotonic()

    # When ---------------------------------------------------------------------------------------------------------

    def on_train_begin(self, logs: Any = None) -> None:
        self._writes = bool(self.model.distribute_strategy.extended.should_checkpoint)
        if self._writes:
            for name in [*self._torn, *(each.name for each in self.folder.glob(".writing-*"))]:
                shutil.rmtree(self.folder / name, ignore_errors=True)
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
        if self._found is not None and self._found.state["step"]:  # In the middle of an epoch, whose sums Keras has just reset.
            self._done = self._found.state["step"]
            self._restore()
        self._found = None

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._since += batch + 1 - self._done
        self._done = batch + 1
        if self.model.stop_training:  # The end of this epoch is still to come, and saved.
            return
        if self._told is not None or self._due():
            self._save(self._epoch, batch + 1)
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
        # The chief leaves once it has saved, which ends the others; they leave first only where it was not told.
        if self._told is not None and (self._writes or time.monotonic() - self._told > GRACE):
            raise SystemExit(TERMINATED)

    # What ---------------------------------------------------------------------------------------------------------

    def _save(self, epoch: int, step: int) -> None:
        name = f"epoch-{epoch:06d}-step-{step:08d}"
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
