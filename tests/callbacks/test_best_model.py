from types import SimpleNamespace

import keras
import numpy as np
import pytest

from mtl import MultiTaskModel, Task
from mtl.callbacks import BestModel
from mtl.heads import Classification
from tests.tiny import Bag
from tests.two_tasks import batch, make_model


class Recorded:
    """A model whose only weight is the number of the epoch."""

    def __init__(self):
        self.weights = [np.zeros(1)]
        self.distribute_strategy = SimpleNamespace(extended=SimpleNamespace(should_checkpoint=True))
        self.saved = []
        self.stop_training = False

    def get_weights(self):
        return [weight.copy() for weight in self.weights]

    def set_weights(self, weights):
        self.weights = weights

    def save_weights(self, path, overwrite):
        self.saved.append(int(self.weights[0][0]))
        path.write_text("")


def run(callback, epochs):
    """The epoch whose weights are put back, after epochs that log what is given."""
    callback.set_model(model := Recorded())
    callback.on_train_begin()
    for epoch, logs in enumerate(epochs):
        model.weights = [np.array([float(epoch)])]
        callback.on_epoch_end(epoch, {"a": 0.0, "b": 0.0, "loss": 0.0} | logs)
    callback.on_train_end()
    return int(model.weights[0][0]), model.saved


def test_the_best_epoch_comes_back(tmp_path):
    path = tmp_path / "new" / "best.weights.h5"
    losses = [{"val_loss": value} for value in (3.0, 1.0, 2.0, float("nan"))]
    callback = BestModel(path)
    assert run(callback, losses) == (1, [0, 1])
    assert (callback.best, callback.best_epoch) == (1.0, 1)
    assert [each.name for each in path.parent.iterdir()] == ["best.weights.h5"]


def test_the_mean_gain_over_a_baseline():
    """Gains of (0.2, -1), (0.1, 0.5) and (-0.1, 0.6) have the means -0.4, 0.3 and 0.25."""
    epochs = [{"val_a": a, "val_b_loss": b, "b_loss": 0.0} for a, b in [(0.6, 4.0), (0.55, 1.0), (0.45, 0.8)]]
    callback = BestModel(monitor=["val_a", "val_b_loss"], baseline={"val_a": 0.5, "val_b_loss": 2.0})
    assert run(callback, epochs)[0] == 1 and callback.best == pytest.approx(0.3)


def test_patience():
    callback = BestModel(monitor="val_a", patience=2)
    callback.set_model(model := Recorded())
    callback.on_train_begin()
    stopped = []
    for epoch, value in enumerate([0.5, 0.4, 0.6, 0.6, float("nan")]):
        callback.on_epoch_end(epoch, {"val_a": value})
        stopped.append(model.stop_training)
    assert stopped == [False, False, False, False, True]


def test_the_best_by_each_figure(tmp_path):
    epochs = [{"val_a": 0.1, "val_b": 0.9}, {"val_a": 0.9, "val_b": 0.8}, {"val_a": 0.5, "val_b": 0.5}]
    _, saved = run(BestModel(tmp_path / "best.weights.h5", ["val_a", "val_b"], each=True), epochs)
    names = sorted(path.name.removesuffix(".weights.h5") for path in tmp_path.iterdir())
    assert names == ["best", "best.val_a", "best.val_b"]
    assert saved == [0, 0, 0, 1, 1]  # All three, and then the mean and val_a.


def test_the_best_by_each_figure_stays_the_best(tmp_path):
    first, second = (BestModel(tmp_path / "best.weights.h5", ["val_a", "val_b"], each=True) for _ in range(2))
    run(first, [{"val_a": 0.9, "val_b": 0.1}])
    second.set_model(model := Recorded())
    second.on_train_begin()
    second.restore(first.state())
    second.on_epoch_end(1, {"val_a": 0.5, "val_b": 0.2})
    assert len(model.saved) == 1 and second.best_of_each == {"val_a": (0.9, 0), "val_b": (0.2, 1)}


@pytest.mark.parametrize("parts", [([0, 1], [2, 3]), ([0, 1, 2], [3])], ids=["after the best", "while waiting"])
def test_it_goes_on_from_its_state(parts):
    epochs = [{"val_a": value} for value in (0.1, 0.9, 0.5, 0.4)]
    first, second = (BestModel(monitor="val_a", patience=2) for _ in range(2))
    for callback, part in zip((first, second), parts, strict=True):
        callback.set_model(model := Recorded())
        callback.on_train_begin()
        if callback is second:
            callback.restore(first.state())
        for epoch in part:
            model.weights = [np.array([float(epoch)])]
            callback.on_epoch_end(epoch, epochs[epoch])
    assert (second.best, second.best_epoch, model.stop_training) == (0.9, 1, True)
    second.on_train_end()
    assert model.weights[0] == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patience": 0}, "`patience` as a whole number from 1 or None; got 0"),
        ({"each": True}, "give it a path, or leave `each` out"),
        ({"baseline": {"val_a": 1.0}}, r"a baseline other than 0 for each of \['val_loss'\]; got {'val_a': 1.0}"),
        ({"baseline": {"val_loss": 0.0}}, "a baseline other than 0"),
        ({"combine": "worse"}, "did you mean 'worst'"),
        ({"stop": "all"}, "Unknown reason to stop 'all'"),
        ({"weights": {"val_los": 1.0}}, "did you mean 'val_loss'"),
        ({"weights": {"val_loss": 0.0}}, "weights above 0; got 0.0 for 'val_loss'"),
        ({"weights": {"val_loss": 2.0}, "combine": "worst"}, "the worst figure has none"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(ValueError, match=message):
        BestModel(**settings)


def test_the_mean_of_several_figures():
    epochs = [{"val_a": 0.9, "val_b": 0.1}, {"val_a": 0.6, "val_b": 0.6}, {}, {"val_a": 0.1, "val_b": 0.9}]
    assert run(BestModel(monitor=["val_a", "val_b"]), epochs)[0] == 1
    assert run(BestModel(monitor=["val_a", "val_b"], mode="min"), epochs)[0] == 0
    assert run(BestModel(monitor="b"), [{"b": 1.0}, {"b": 2.0}])[0] == 1


def test_the_weighted_mean_and_the_worst():
    """Means of (0.9, 0.1), (0.5, 0.4), (0.2, 0.8), weighted 3 to 1: 0.7, 0.475, 0.35; the worst: 0.1, 0.4, 0.2."""
    epochs = [{"val_a": a, "val_b": b} for a, b in [(0.9, 0.1), (0.5, 0.4), (0.2, 0.8)]]
    callback = BestModel(monitor=["val_a", "val_b"], weights={"val_a": 3.0})
    assert run(callback, epochs)[0] == 0 and callback.best == pytest.approx(0.7)
    callback = BestModel(monitor=["val_a", "val_b"], combine="worst")
    assert run(callback, epochs)[0] == 1 and callback.best == 0.4
    callback = BestModel(monitor=["val_a", "val_b"], combine="worst", mode="min")
    assert run(callback, epochs)[0] == 1 and callback.best == 0.5
    # Of the gains: a from 0.5, and b, of which less is better, from 0.4.
    epochs = [{"val_a": a, "val_b_mae": b, "b_mae": b} for a, b in [(0.9, 0.8), (0.45, 0.4), (0.6, 0.2)]]
    callback = BestModel(monitor=["val_a", "val_b_mae"], combine="worst", baseline={"val_a": 0.5, "val_b_mae": 0.4})
    assert run(callback, epochs)[0] == 2 and callback.best == pytest.approx(0.2)


@pytest.mark.parametrize(("stop", "last"), [("best", 2), ("any", 4)])
def test_what_patience_waits_for(stop, last):
    """The mean is best at first; b goes on to improve for two epochs more."""
    callback = BestModel(monitor=["val_a", "val_b"], patience=2, stop=stop)
    callback.set_model(model := Recorded())
    callback.on_train_begin()
    for epoch, (a, b) in enumerate([(0.9, 0.5), (0.1, 0.6), (0.1, 0.7), (0.1, 0.7), (0.1, 0.7), (0.1, 0.7)]):
        callback.on_epoch_end(epoch, {"val_a": a, "val_b": b})
        if model.stop_training:
            break
    assert (epoch, callback.best_epoch) == (last, 0)


def test_a_figure_that_no_row_contributed_to():
    nan = float("nan")
    with pytest.warns(
        UserWarning, match="BestModel expects a number for 'val_a'; got NaN: no row of the epoch was labelled"
    ) as told:
        callback = BestModel(monitor="val_a", patience=1)
        assert run(callback, [{"val_a": nan}, {"val_a": nan}, {"val_a": 0.5}, {"val_a": nan}])[0] == 2
    assert len(told) == 1 and callback.best == 0.5


@pytest.mark.parametrize("monitor", ["loss", "val_score_rmse", ["val_score_pearson", "val_mood_accuracy"]])
def test_a_task_without_validation_rows_is_never_the_best(monitor):
    model = make_model("sgd")
    x, y, weight = batch(8)
    nothing = {"mood": np.full(8, 0.0 if monitor == "loss" else 1.0), "score": np.zeros(8)}
    validation = (x, y, {task: each.astype("float32") for task, each in nothing.items()})
    weight = {task: np.zeros(8, "float32") for task in weight} if monitor == "loss" else weight
    best = BestModel(monitor=monitor)
    with pytest.warns(UserWarning):
        history = model.fit(x, y, sample_weight=weight, validation_data=validation, epochs=2, verbose=0, callbacks=[best]).history
    assert best.best is None and best.best_epoch is None
    absent = [name for name in history if name.startswith("val_score_") or (monitor == "loss")]
    assert absent and all(np.isnan(history[name]).all() for name in absent)
    assert monitor == "loss" or np.isfinite(history["val_mood_loss"]).all() and np.isfinite(history["val_loss"]).all()


def test_an_epoch_of_skipped_steps_is_not_the_best():
    model = make_model("sgd")
    model.compile("sgd", skip_nonfinite=True)
    x, y, weight = batch(8)
    best = BestModel(monitor="loss")
    with pytest.warns(UserWarning) as told:
        history = model.fit(
            x, {**y, "score": np.full(8, np.inf, "float32")}, sample_weight=weight, epochs=1, verbose=0, callbacks=[best]
        ).history
    assert np.isnan(history["loss"]).all() and best.best is None
    assert sum("BestModel expects a number for 'loss'; got NaN" in str(each.message) for each in told) == 1


@pytest.mark.parametrize(
    ("names", "mode"),
    [("val_loss", "min"), ("val_a_loss", "min"), (["x_mae", "y_perplexity"], "min"), ("val_a_macro_f1", "max"), ("gloss", "max")],
)
def test_which_way_is_better(names, mode):
    assert BestModel(monitor=names).mode == mode


def test_errors(tmp_path):
    with pytest.raises(ValueError, match=r"ends in .keras or .weights.h5; got 'best.h5'"):
        BestModel("best.h5")
    with pytest.raises(ValueError, match="Unknown mode 'minimum'; did you mean 'min'"):
        BestModel(mode="minimum")
    with pytest.raises(ValueError, match="at least one figure"):
        BestModel(monitor=[])
    with pytest.raises(ValueError, match="Less is better for some of"):
        BestModel(monitor=["val_a_loss", "val_a_accuracy"])
    with pytest.raises(ValueError, match="Unknown figure to monitor 'val_aa'; did you mean 'val_a'"):
        run(BestModel(monitor="val_aa"), [{"val_a": 1.0}])
    with pytest.warns(UserWarning, match="No epoch had finite figures"):
        run(BestModel(monitor="val_a"), [{}])


@pytest.mark.parametrize("name", ["best.keras", "best.weights.h5"])
def test_a_real_model_is_saved_and_restored(tmp_path, name):
    model = MultiTaskModel(Bag(), Task("mood", Classification(2, dropout=0.0)))
    model.compile(keras.optimizers.SGD(0.5))
    x, y = np.arange(1, 9, dtype="int32").reshape(4, 2), np.array([0, 1, 0, 1], "int32")
    start = model.evaluate(x, y, verbose=0, return_dict=True)["loss"]
    # More loss is taken for better: the first epoch, after which it only falls.
    best = BestModel(tmp_path / name, monitor="val_loss", mode="max")
    history = model.fit(x, y, validation_data=(x, y), epochs=3, callbacks=[best], verbose=0).history["val_loss"]
    assert start > history[0] > history[2]
    assert model.evaluate(x, y, verbose=0, return_dict=True)["loss"] == pytest.approx(history[0], rel=1e-5)
    if name.endswith(".keras"):
        copy = keras.saving.load_model(tmp_path / name)
    else:
        copy = MultiTaskModel(Bag(), Task("mood", Classification(2, dropout=0.0)))
        copy.load_weights(tmp_path / name)
    for mine, its in zip(copy.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, its)
