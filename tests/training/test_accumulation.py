"""`k` batches of an accumulated gradient against one batch of all their rows."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from mtl import MultiTaskModel, Task
from mtl.balancing import FAMO, MGDA, CAGrad, GradDrop, MoCo, PCGrad, SDMGrad, Static, UncertaintyWeighting
from mtl.encoders import Recurrent
from mtl.heads import Classification, Regression, Tagging
from mtl.sharing import Soft
from mtl.training.accumulation import batches_to_an_update
from tests.tiny import Bag
from tests.two_tasks import batch, make_model

LENGTH, ROWS = 3, 5
OPTIMIZERS: dict[str, Callable[..., Any]] = {
    "SGD": lambda **kwargs: keras.optimizers.SGD(0.5, momentum=0.9, **kwargs),
    "Adam": lambda **kwargs: keras.optimizers.Adam(1e-2, global_clipnorm=0.5, **kwargs),
    "AdamW": lambda **kwargs: keras.optimizers.AdamW(1e-2, weight_decay=0.1, use_ema=True, ema_overwrite_frequency=2, **kwargs),
}
BALANCERS: dict[str, Callable[[], Any]] = {
    "Static": lambda: Static({"mood": 2.0}),
    "mean": lambda: Static(reduction="mean"),
    "UncertaintyWeighting": UncertaintyWeighting,
    "PCGrad": PCGrad,
    "MGDA": MGDA,
    "CAGrad": CAGrad,
    "SDMGrad": SDMGrad,
    "MoCo": MoCo,
    "GradDrop": GradDrop,
}


def rows(windows=2, seed=0):
    """Random weights, a third of them 0; of three batches one has the second task, and of the second window none."""
    count = windows * LENGTH * ROWS
    rng = np.random.default_rng(seed + 7)
    weights = {task: rng.uniform(0.2, 2.0, count) * (rng.uniform(size=count) < 0.67) for task in ("mood", "score")}
    place = np.arange(count)
    weights["score"] *= (place // ROWS % LENGTH == 1) & (place < LENGTH * ROWS)
    return batch(count, seed, **weights)


def state(model):
    inner = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    held = [v for v in inner.variables if not v.name.startswith("window") and v.dtype == "float32"]
    return [keras.ops.convert_to_numpy(v) for v in (*model.variables, *held)]


def trained(model, data, together, **kwargs):
    x, y, weight = data
    size = ROWS * (LENGTH if together else 1)
    model.fit(x, y, sample_weight=weight, batch_size=size, shuffle=False, verbose=0, **kwargs)
    return model


def same(make, data, atol=1e-6, **kwargs):
    """Trains by one batch and by accumulation; `make` takes the optimizer's arguments."""
    one, several = trained(make(), data, True), trained(make(gradient_accumulation_steps=LENGTH), data, False, **kwargs)
    for a, b in zip(state(one), state(several), strict=True):
        np.testing.assert_allclose(b, a, atol=atol, rtol=1e-5)
    assert int(several.optimizer.iterations) == int(one.optimizer.iterations)
    return several


@pytest.mark.parametrize(
    "balancer", [name if name in ("Static", "PCGrad") else pytest.param(name, marks=pytest.mark.long) for name in BALANCERS]
)
def test_batches_train_as_one(balancer):
    same(lambda **kwargs: make_model(OPTIMIZERS["SGD"](**kwargs), BALANCERS[balancer]()), rows())


@pytest.mark.parametrize(("balancer", "optimizer"), [("Static", "AdamW"), ("UncertaintyWeighting", "Adam"), ("PCGrad", "AdamW")])
def test_averages_decay_and_clipping_are_those_of_one_batch(balancer, optimizer):
    same(lambda **kwargs: make_model(OPTIMIZERS[optimizer](**kwargs), BALANCERS[balancer]()), rows())


def of(balancer=None, sharing=None, tasks=2, **options):
    def make(**kwargs):
        keras.utils.set_random_seed(1)
        both = [Task("mood", Classification(3, dropout=0.0)), Task("score", Regression(mean=0.0, scale=1.0, dropout=0.0))]
        model = MultiTaskModel(Bag(), both[:tasks], sharing, balancer, **options)
        model.heads["mood"].readout.linear.kernel.regularizer = keras.regularizers.L2(0.1)
        model.compile(keras.optimizers.SGD(0.3, **kwargs))
        return model

    return make


@pytest.mark.parametrize(
    "make",
    [
        of(sharing=Soft(0.5)),
        of(Static()),
        of(MGDA(), gradients_at="representation"),
        of(MGDA(), gradients_at=["embedding"]),
    ],
    ids=["soft", "hard", "representation", "layer"],
)
def test_ways_of_sharing_and_of_comparing(make):
    same(make, rows())


def test_one_task():
    x, y, weight = rows()
    same(of(tasks=1), (x, {"mood": y["mood"]}, {"mood": weight["mood"]}))


def test_words_are_counted_over_the_window():
    """A target for each token: batches differ in how many they have."""
    rng = np.random.default_rng(5)
    x, y, weight = rows()
    count = len(x["token_ids"])
    x["token_ids"][np.arange(5) >= rng.integers(1, 6, count)[:, None]] = 0
    y = {"mood": y["mood"], "tags": rng.integers(0, 3, (count, 5)).astype("int32")}
    tagged = (rng.uniform(size=(count, 5)) < 0.4) * (x["token_ids"] > 0)
    weight = {"mood": weight["mood"], "tags": tagged.astype("float32")}

    def make(**kwargs):
        keras.utils.set_random_seed(1)
        tasks = [Task("mood", Classification(3, dropout=0.0)), Task("tags", Tagging(3, dropout=0.0))]
        model = MultiTaskModel(Recurrent(vocabulary_size=20, embedding=4, units=4, dropout=0.0), tasks)
        model.compile(keras.optimizers.SGD(0.3, **kwargs))
        return model

    same(make, (x, y, weight))


def test_a_loss_scale_and_groups_of_variables():
    def scaled(**kwargs):
        return make_model(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.3, **kwargs), initial_scale=2.0**10))

    def grouped(**kwargs):
        groups = {".*embedding.*": keras.optimizers.SGD(0.3, **kwargs)}
        default = keras.optimizers.Adam(1e-2, **kwargs)
        return make_model(keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(default, groups)))

    same(scaled, rows())
    one, several = trained(grouped(), rows(), True), trained(grouped(gradient_accumulation_steps=LENGTH), rows(), False)
    for a, b in zip(one.get_weights(), several.get_weights(), strict=True):
        np.testing.assert_allclose(b, a, atol=1e-6)


def test_an_overflow_leaves_out_the_window():
    """As it would one batch of all rows: the scale is halved once, and no update is counted."""
    x, y, weight = rows()
    y["score"], weight["score"] = y["score"].copy(), weight["score"].copy()
    y["score"][7], weight["score"][7] = 3e38, 1.0

    def make(**kwargs):
        optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.AdamW(1e-2, **kwargs), initial_scale=2.0**15)
        return make_model(optimizer)

    model = same(make, (x, y, weight))
    assert int(model.optimizer.iterations) == 1 and float(model.optimizer.dynamic_scale) == 2.0**14


def test_several_steps_in_one_execution_and_windows_over_epochs():
    """Two epochs of three batches, four to an update and then two: the window goes on behind the epoch."""

    def make(steps):
        model = make_model(keras.optimizers.Adam(1e-2, gradient_accumulation_steps=4))
        model.compile(model.optimizer, steps_per_execution=steps)
        return trained(model, rows(1), False, epochs=2)

    one, other = make(1), make(2)
    for a, b in zip(state(one), state(other), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    held = {v.name: float(v.value) for v in one.optimizer.variables if v.name == "window_batches"}
    assert held == {"window_batches": 2.0} and int(one.optimizer.iterations) == 1


def test_under_xla():
    def make(**kwargs):
        model = of()(**kwargs)
        model.compile(model.optimizer, jit_compile=bool(kwargs))
        return model

    same(make, rows(1))


def test_a_batch_that_is_left_out_is_none_of_the_window():
    def left(bad, **kwargs):
        model = make_model("sgd")
        model.compile(keras.optimizers.Adam(1e-2, weight_decay=0.1, **kwargs), skip_nonfinite=True)
        x, y, weight = rows()
        weight["score"] = np.ones_like(weight["score"])
        y["score"] = y["score"].copy()
        if bad:
            y["score"][5:10] = np.inf
        else:
            weight = {task: np.where(np.arange(len(w)) // 5 == 1, 0.0, w) for task, w in weight.items()}
        return trained(model, (x, y, weight), not kwargs)

    one = left(False)
    with pytest.warns(UserWarning, match="of 'score' was not finite at step 2, which was left out"):
        several = left(True, gradient_accumulation_steps=LENGTH)
    for a, b in zip(state(one), state(several), strict=True):
        np.testing.assert_allclose(b, a, atol=1e-6)


def test_no_table_is_held_twice():
    """One number a variable that one task has alone, one for each task for those that it shares; no accumulators of Keras's."""
    model = trained(make_model(keras.optimizers.SGD(0.3, gradient_accumulation_steps=2)), rows(1), False)
    sizes = {"shared": 0, "task": 0, "other": 0}
    for variable in model.optimizer.variables:
        kind = next((kind for kind in sizes if variable.name.startswith(f"window_{kind}")), "other")
        sizes[kind] += int(np.prod(variable.shape))
    assert sizes["shared"] == 2 * 20 * 6 and sizes["task"] == (6 * 3 + 3) + (6 + 1)
    assert sizes["other"] < 20


def test_length():
    assert batches_to_an_update(keras.optimizers.SGD()) == 1
    assert batches_to_an_update(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(gradient_accumulation_steps=3))) == 3


def test_a_model_saved_within_a_window_loses_nothing(tmp_path):
    """The second task's rows were in the batch before saving."""
    x, y, weight = batch()
    without = {**weight, "score": np.zeros(8, "float32")}
    model = make_model(keras.optimizers.SGD(0.5, gradient_accumulation_steps=2))
    model.train_on_batch(x, y, weight)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for each in (model, loaded):
        each.train_on_batch(x, y, without)
    for mine, other in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-6)


def test_a_look_ahead_expects_an_update_a_batch():
    model = make_model(keras.optimizers.SGD(0.5, gradient_accumulation_steps=2), FAMO())
    with pytest.raises(ValueError, match="FAMO looks at what each batch's update does .* once in 2 batches"):
        model.fit(*batch()[:2], verbose=0)


def test_groups_of_variables_accumulate_alike():
    inner = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
    several = keras.optimizers.OptimizerMap(keras.optimizers.SGD(0.1), {".*embedding.*": inner})
    model = make_model(keras.optimizers.MultiOptimizer(several))
    x, y, weight = batch()
    with pytest.raises(ValueError, match=r"got gradient_accumulation_steps \[1, 2\]. Give all the same."):
        model.fit(x, y, sample_weight=weight, verbose=0)
