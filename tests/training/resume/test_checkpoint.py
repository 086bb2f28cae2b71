import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader

from mtl.callbacks import Checkpoint
from mtl.training.resume.snapshots import ARRAYS, STATE, SUM, _sum, name_of
from mtl.transfer import extract, freeze, head_model, unfreeze
from tests.training.resume.killed import EPOCHS
from tests.training.resume.test_snapshots import last
from tests.two_tasks import batch, make_model

ROOT = Path(__file__).parents[3]


def points(folder: Path) -> list[Any]:
    """Everything in the event files but the clock: run, step, tag, content."""
    found = []
    for path in folder.rglob("events.out.tfevents.*"):
        for raw in RawEventFileLoader(str(path)).Load():
            event = tf.compat.v1.Event.FromString(raw)
            for value in event.summary.value:
                found.append((path.parent.name, event.step, value.tag, value.tensor.SerializeToString()))
    return sorted(found)


def check(folder: Path) -> None:
    """What was killed ended bit by bit as what was not."""
    with np.load(folder / "whole" / "result.npz") as whole, np.load(folder / "killed" / "result.npz") as killed:
        assert whole.files == killed.files and len(whole["log_loss"]) == EPOCHS
        different = [name for name in whole.files if whole[name].tobytes() != killed[name].tobytes()]
        assert not different
    whole_points, killed_points = points(folder / "whole" / "logs"), points(folder / "killed" / "logs")
    assert len(whole_points) > 2 * EPOCHS
    assert killed_points == whole_points
    assert (folder / "whole" / "best.weights.h5").exists() == (folder / "killed" / "best.weights.h5").exists()


def killed(case: str, folder: Path, kills: int, seed: int, workers: int = 1, seconds: float = 3000) -> str:
    script = Path(__file__).with_name("killed.py")
    result = subprocess.run(
        [sys.executable, script, case, folder, *map(str, (kills, seed, workers))],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    assert result.returncode == 0 and f"kills: {kills}" in result.stdout, result.stdout + result.stderr[-4000:]
    check(folder)
    return result.stdout + result.stderr


@pytest.mark.slow
def test_killed_three_times(tmp_path):
    killed("mixture", tmp_path, 3, 0)


@pytest.mark.long
@pytest.mark.parametrize("case", ["mixture", "arrays"])
def test_killed_twenty_times(tmp_path, case):
    killed(case, tmp_path, 20, 1)


@pytest.mark.long
def test_a_worker_killed_twenty_times(tmp_path):
    """The other ends within a minute, and says why."""
    told = killed("mixture", tmp_path, 20, 2, workers=2, seconds=7200)
    seconds = [float(each) for each in re.findall(r"the other ended after ([\d.]+) s", told)]
    assert len(seconds) == 22 and max(seconds) < 60
    assert told.count("ConnectionError: Another worker of this training has ended") >= 1


# In this process ----------------------------------------------------------------------------------------------------------


class Ended(Exception):
    pass


class End(keras.callbacks.Callback):
    """Ends a training after a step, or while an epoch ends."""

    def __init__(self, epoch, step=None, act=None):
        super().__init__()
        self.epoch, self.step, self.act = epoch, step, act
        self.at = -1

    def on_epoch_begin(self, epoch, logs=None):
        self.at = epoch

    def on_train_batch_end(self, step, logs=None):
        if (self.at, step) == (self.epoch, self.step):
            self.act() if self.act else self.stop()

    def on_epoch_end(self, epoch, logs=None):
        if self.step is None and epoch == self.epoch:
            self.stop()

    def stop(self):
        raise Ended


def fit(folder, *callbacks, model=None, epochs=3, rows=20, data=None, fitted=None, **options):
    model = model or make_model(keras.optimizers.Adam(1e-2))
    x, y, weight = batch(rows)
    checkpoint = Checkpoint(folder, **options)
    arguments = {"x": x, "y": y, "sample_weight": weight, "batch_size": 4} if data is None else {"x": data}
    history = model.fit(**arguments, epochs=epochs, callbacks=[checkpoint, *callbacks], verbose=0, **(fitted or {}))
    return [each.tobytes() for each in model.get_weights()], history.history, history.epoch


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    keras.utils.set_random_seed(0)
    return fit(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize(("epoch", "step"), [(0, 0), (1, 2), (1, 4), (1, None), (2, 4), (2, None)])
def test_going_on(tmp_path, whole, epoch, step):
    """After any step, the last of an epoch and of the training included, and before its end was noticed."""
    with pytest.raises(Ended):
        fit(tmp_path, End(epoch, step), every_steps=1)
    assert fit(tmp_path, every_steps=1) == whole


def test_after_the_end_nothing_more_is_trained(tmp_path, whole):
    assert fit(tmp_path) == whole
    assert fit(tmp_path) == whole
    assert fit(tmp_path, epochs=4)[2] == [0, 1, 2, 3]


def test_an_early_end_is_an_end(tmp_path):
    stop = {"monitor": "loss", "mode": "max", "patience": 1}  # The loss falls.
    first = fit(tmp_path, keras.callbacks.EarlyStopping(**stop), epochs=9)
    assert first[2] == [0, 1] and fit(tmp_path, keras.callbacks.EarlyStopping(**stop), epochs=9) == first


class StopAt(keras.callbacks.Callback):
    """Stops the training after a step of the second epoch, which then still has its validation and its end."""

    def on_train_batch_end(self, batch, logs=None):
        if self.model.epoch_now == 1 and batch == 1:
            self.model.stop_training = True

    def on_epoch_begin(self, epoch, logs=None):
        self.model.epoch_now = epoch


def test_an_end_within_an_epoch_still_has_the_end_of_the_epoch(tmp_path):
    whole = fit(tmp_path / "whole", StopAt(), every_steps=1)
    with pytest.raises(Ended):
        fit(tmp_path / "ended", StopAt(), End(1, None), every_steps=1)
    assert fit(tmp_path / "ended", StopAt(), every_steps=1) == whole and whole[2] == [0, 1]


def test_one_checkpoint_is_enough(tmp_path):
    with pytest.raises(ValueError, match="Expected at most one Checkpoint among the callbacks; got 2"):
        fit(tmp_path, Checkpoint(tmp_path / "other"))


def test_a_torn_checkpoint_is_passed_over(tmp_path, whole):
    with pytest.raises(Ended):
        fit(tmp_path, End(1, 3), every_steps=1)
    last = sorted(os.listdir(tmp_path))[-1]
    content = (tmp_path / last / "arrays.npz").read_bytes()
    (tmp_path / last / "arrays.npz").write_bytes(content[: len(content) // 2])
    with pytest.warns(UserWarning, match=f"The checkpoint {last} in '.*' is not whole; going on from epoch-000001-step-00000002"):
        assert fit(tmp_path, every_steps=100) == whole
    for path in tmp_path.glob("*/arrays.npz"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="No checkpoint in '.*' is whole. Delete the folder to begin anew"):
        fit(tmp_path)


def broken(folder, harm):
    """A snapshot with other content, whose checksum is valid."""
    harm(folder)
    (folder / SUM).write_text(_sum(folder))


def of_state(change):
    def harm(folder):
        state = json.loads((folder / STATE).read_text())
        (folder / STATE).write_text(json.dumps(change(state)))

    return harm


def of_arrays(change):
    def harm(folder):
        with np.load(folder / ARRAYS) as stored:
            arrays = change(dict(stored))
        np.savez(folder / ARRAYS, **arrays)

    return harm


BROKEN = {
    "null": of_state(lambda state: None),
    "list": of_state(lambda state: [state]),
    "empty": of_state(lambda state: {}),
    "elsewhere": of_state(lambda state: {**state, "epoch": 7}),
    "text": of_state(lambda state: {**state, "step": "3"}),
    "callbacks": of_state(lambda state: {**state, "callbacks": [1]}),
    "reference": of_state(lambda state: {**state, "callbacks": {"History-0": {"dict": {"epoch": {"array": "none"}}}}}),
    "no arrays": of_arrays(lambda arrays: {}),
    "one less": of_arrays(lambda arrays: {name: value for name, value in arrays.items() if name != "variable/0"}),
    "shape": of_arrays(lambda arrays: {**arrays, "variable/0": np.zeros((1, 1), "float32")}),
    "texts": of_arrays(lambda arrays: {**arrays, "variable/0": np.array(["a"])}),
}


@pytest.mark.parametrize("harm", BROKEN.values(), ids=BROKEN)
def test_a_valid_sum_of_broken_content(tmp_path, whole, harm):
    with pytest.raises(Ended):
        fit(tmp_path, End(1, 3), every_steps=1)
    last = sorted(os.listdir(tmp_path))[-1]
    broken(tmp_path / last, harm)
    with pytest.warns(UserWarning, match=f"The checkpoint {last} in '.*' is not whole; going on from epoch-000001-step-00000002"):
        assert fit(tmp_path, every_steps=100) == whole


def test_nothing_but_checkpoints_is_removed(tmp_path, whole):
    mine = [tmp_path / name for name in ("zz-step-precious", ".writing-mine", "epoch-000000-step-notes")]
    for path in mine:
        path.mkdir()
        (path / "notes.txt").write_text("mine")
    (tmp_path / name_of(99, 0)).mkdir()
    (tmp_path / name_of(99, 0) / "notes.txt").write_text("mine")
    assert fit(tmp_path, keep=1) == whole and fit(tmp_path, keep=1) == whole
    assert all((path / "notes.txt").read_text() == "mine" for path in (*mine, tmp_path / name_of(99, 0)))


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NotADirectoryError, match="Expected a folder of checkpoints; '.*file' is a file"):
        fit(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_how_often_and_how_many(tmp_path):
    fit(tmp_path, every_steps=2, keep=100)
    # From the beginning, every two of 15 steps, and at the end.
    epochs = [(0, 0), (0, 2), (0, 4), (1, 1), (1, 3), (1, 5), (2, 2), (2, 4), (3, 0)]
    assert sorted(os.listdir(tmp_path)) == [f"epoch-{epoch:06d}-step-{step:08d}" for epoch, step in epochs]
    fit(tmp_path / "seldom", every_minutes=100, keep=1)
    assert os.listdir(tmp_path / "seldom") == ["epoch-000003-step-00000000"]
    fit(tmp_path / "always", every_minutes=1e-9, keep=100)
    assert len(os.listdir(tmp_path / "always")) == 1 + 15 + 3


def test_sigterm_saves_and_ends(tmp_path, whole):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as end:
        fit(tmp_path, End(1, 1, lambda: os.kill(os.getpid(), signal.SIGTERM)), every_steps=1000)
    assert end.value.code == 143 and signal.getsignal(signal.SIGTERM) is before
    assert last(tmp_path).name == "epoch-000001-step-00000002"
    assert fit(tmp_path) == whole


def test_sigterm_says_how_to_go_on(tmp_path, capsys):
    with pytest.raises(SystemExit):
        fit(tmp_path, End(1, 1, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    assert re.fullmatch(
        "Saved in '.*epoch-000001-step-00000002'. Start the same training again to go on from there.\n", capsys.readouterr().err
    )


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path, whole, capfd):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="Saved in '.*epoch-000001-step-00000002'. Start the same training again"):
        fit(tmp_path, End(1, 1, lambda: os.kill(os.getpid(), signal.SIGINT)), every_steps=1000)
    assert "Ending after this step, and saving. Ctrl-C again ends at once." in capfd.readouterr().err
    assert signal.getsignal(signal.SIGINT) is before
    assert last(tmp_path).name == "epoch-000001-step-00000002"
    assert fit(tmp_path) == whole


def test_ctrl_c_twice_ends_at_once(tmp_path, whole):
    def twice():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as end:
        fit(tmp_path, End(1, 1, twice), every_steps=1000)
    assert not end.value.args
    assert last(tmp_path).name == "epoch-000000-step-00000000"
    assert fit(tmp_path) == whole


def test_ctrl_c_that_is_ignored_stays_so(tmp_path, whole):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert fit(tmp_path, End(1, 1, lambda: os.kill(os.getpid(), signal.SIGINT))) == whole
    finally:
        signal.signal(signal.SIGINT, before)


class InValidation(keras.callbacks.Callback):
    """Sends a signal after a step of the second epoch's validation, and counts what comes after it."""

    def __init__(self, step=None, number=signal.SIGINT):
        super().__init__()
        self.step, self.number, self.steps = step, number, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_test_batch_end(self, step, logs=None):
        self.steps += 1
        if (self.epoch, step) == (1, self.step):
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_validation_ends_there_and_the_validation_is_done_anew(tmp_path, number):
    x, y, weight = batch(8)
    fitted = {"validation_data": (x, y, weight), "validation_batch_size": 1}
    expected = fit(tmp_path / "whole", InValidation(), fitted=fitted)
    ending = InValidation(1, number)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(tmp_path / "ended", ending, fitted=fitted)
    assert ending.steps == 8 + 2 and last(tmp_path / "ended").name == name_of(1, 5)
    again = InValidation()
    assert fit(tmp_path / "ended", again, fitted=fitted) == expected and again.steps == 16


def test_a_signal_before_the_first_step(tmp_path, whole):
    class AtOnce(keras.callbacks.Callback):
        def set_model(self, model):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match="Saved in '.*epoch-000000-step-00000001'"):
        fit(tmp_path, AtOnce())
    assert fit(tmp_path) == whole


class EndOfTraining(keras.callbacks.Callback):
    """Does something once all is trained."""

    def __init__(self, act):
        super().__init__()
        self.act = act

    def on_train_end(self, logs=None):
        self.act()


def test_sigterm_after_the_last_step_ends_too(tmp_path, whole):
    with pytest.raises(SystemExit) as end:
        fit(tmp_path, EndOfTraining(lambda: os.kill(os.getpid(), signal.SIGTERM)))
    assert end.value.code == 143
    assert fit(tmp_path) == whole


def test_sigterm_where_training_is_to_stop_waits_for_the_end_of_the_epoch(tmp_path):
    expected = fit(tmp_path / "whole", StopAt())
    with pytest.raises(SystemExit):
        fit(tmp_path / "ended", StopAt(), End(1, 1, lambda: os.kill(os.getpid(), signal.SIGTERM)), every_steps=1000)
    assert last(tmp_path / "ended").name == "epoch-000002-step-00000000"
    assert fit(tmp_path / "ended", StopAt()) == expected


def test_an_error_after_sigterm_is_still_an_error(tmp_path):
    def fail():
        os.kill(os.getpid(), signal.SIGTERM)
        raise tf.errors.ResourceExhaustedError(None, None, "no memory")

    with pytest.raises(tf.errors.ResourceExhaustedError, match="no memory"):
        fit(tmp_path, End(1, 1, fail))


def test_what_is_trained_stays_the_same(tmp_path):
    model = make_model(keras.optimizers.Adam(1e-2))
    freeze(model)
    with pytest.raises(ValueError, match="What is trained has changed since fit began"):
        fit(tmp_path, End(0, 2, lambda: unfreeze(model)), model=model)
    freeze(model)
    fit(tmp_path / "frozen", model=model)


def test_features_come_in_an_order_that_can_be_repeated(tmp_path):
    model = make_model("sgd")
    x, y, _ = batch(8)
    rows, heads = tf.data.Dataset.from_tensor_slices((x, y)).batch(4), head_model(model)
    heads.compile("sgd")
    with pytest.raises(ValueError, match="of mtl.transfer.extract, give what it makes with shuffle=False"):
        heads.fit(extract(model, rows), callbacks=[Checkpoint(tmp_path)])
    heads.fit(extract(model, rows, shuffle=False), callbacks=[Checkpoint(tmp_path)], verbose=0)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")  # Keras, of data whose length it does not know.
@pytest.mark.parametrize("known", [True, False])
def test_datasets(tmp_path, known):
    data = tf.data.Dataset.from_tensor_slices(batch(20)).batch(4)
    expected = fit(tmp_path / "whole", data=data)
    data = data if known else data.filter(lambda *_: True)
    with pytest.raises(Ended):
        fit(tmp_path / "ended", End(1, 2), data=data, every_steps=1)
    assert fit(tmp_path / "ended", data=data, every_steps=1) == expected


def test_another_training_is_refused(tmp_path):
    fit(tmp_path)
    with pytest.raises(ValueError, match="of a training with 5 batches in an epoch, of .* rows, .*; got 6 batches"):
        fit(tmp_path, rows=24)
    with pytest.raises(ValueError, match="is of another model or optimizer"):
        fit(tmp_path, model=make_model("sgd"))
    with pytest.raises(ValueError, match=r"beside the callbacks \['History-0'\]; got \['EarlyStopping-0', 'History-0'\]"):
        fit(tmp_path, keras.callbacks.EarlyStopping("loss"))


@pytest.mark.parametrize("name", ["every_steps", "every_minutes", "keep"])
def test_numbers_in_their_range(name):
    with pytest.raises(ValueError, match=f"expects `{name}` as a .*; got 0"):
        Checkpoint("folder", **{name: 0})


def test_what_fit_does_not_take_beside_it(tmp_path):
    x, y, _ = batch(8)
    with pytest.raises(ValueError, match="fit takes no steps_per_epoch beside a Checkpoint; got 3. Give mix"):
        make_model("sgd").fit(x, y, callbacks=[Checkpoint(tmp_path)], steps_per_epoch=3)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_read_only(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OSError, match="Could not write a checkpoint to .*: Permission denied"):
        fit(tmp_path / "new")


def test_a_bad_step_is_never_saved(tmp_path):
    x, y, weight = batch(8)
    y["score"][6] = np.inf
    with pytest.raises(FloatingPointError, match="'score' was not finite at step 4"):
        make_model("sgd").fit(
            x, y, sample_weight=weight, batch_size=2, shuffle=False, callbacks=[Checkpoint(tmp_path, every_steps=1)], verbose=0
        )
    found = last(tmp_path)
    assert (found.state["epoch"], found.state["step"]) == (0, 3)
    assert all(np.isfinite(value).all() for name, value in found.arrays.items() if "metric" not in name)
