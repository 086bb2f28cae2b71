import keras
import numpy as np
import pytest
import tensorflow as tf

from mtl.training.non_finite_guard import NonFiniteGuard
from tests.two_tasks import batch, make_model

ONES = tf.ones(2)


def fit(model, steps=4, bad=2, task="score", **kwargs):
    """Steps of two rows, of which one has a target that is not finite."""
    x, y, weight = batch(2 * steps)
    if bad is not None:
        y[task] = y[task].astype("float32")
        y[task][2 * bad] = np.inf
    return model.fit(x, y, sample_weight=weight, batch_size=2, shuffle=False, verbose=0, **kwargs)


def state(model):
    return [keras.ops.convert_to_numpy(each.value) for each in (*model.trainable_variables, *model.optimizer.variables)]


def test_the_task_and_the_step_are_named():
    with pytest.raises(
        FloatingPointError, match=r"The loss or gradient of 'score' was not finite at step 3\. The model is as before"
    ):
        fit(make_model(keras.optimizers.Adam(1e-2)))
    with pytest.raises(FloatingPointError, match=r"at step 1\. "):
        fit(make_model("sgd"), bad=0)


@pytest.mark.parametrize(
    ("losses", "gradients", "who"),
    [
        ([1.0, 1.0], [np.inf, 0.0], "The gradient of what the tasks share was"),
        ([1.0, 1.0], [0.0, np.nan], "The loss or gradient of 'b' was"),
        ([np.nan, 1.0], [np.nan, np.nan], "The loss or gradient of 'a' was"),  # The balancer has mixed it into the others.
        ([np.nan, -np.inf], [0.0, 0.0], "The loss or gradient of 'a', 'b' was"),
    ],
)
def test_who_is_named(losses, gradients, who):
    shared, own, unused = (keras.Variable([0.0], name=name) for name in "sou")
    optimizer = keras.optimizers.SGD()
    optimizer.build([shared, own, unused])
    guard = NonFiniteGuard(optimizer, [shared, own, unused], {("b",): [own]}, ["a", "b"], skip=False, compiled=False)
    assert guard.look(tf.constant([1.0, 1.0]), ONES, [tf.zeros(1), tf.ones(1), None])
    guard.check()
    assert not guard.look(tf.constant(losses), ONES, [tf.constant([each]) for each in gradients] + [None])
    guard.look(tf.constant([1.0, 1.0]), ONES, [tf.zeros(1), tf.ones(1), None])  # The first fault is the one to tell of.
    with pytest.raises(FloatingPointError, match=f"^{who} not finite at step 1"):
        guard.check()


def test_a_step_that_is_left_out_changes_nothing():
    """Three steps with momentum, and one between them that is left out: as if its batch had not been there."""
    model = make_model(keras.optimizers.Adam(1e-2))
    model.compile(keras.optimizers.Adam(1e-2, weight_decay=0.1), skip_nonfinite=True)
    with pytest.warns(UserWarning, match=r"The loss or gradient of 'score' was not finite at step 4, which was left out\."):
        history = fit(model, steps=4, bad=3).history
    x, y, weight = batch(8)
    clean = make_model(keras.optimizers.Adam(1e-2))
    clean.compile(keras.optimizers.Adam(1e-2, weight_decay=0.1))
    part = keras.tree.map_structure(lambda each: each[:6], (x, y, weight))
    expected = clean.fit(part[0], part[1], sample_weight=part[2], batch_size=2, shuffle=False, verbose=0).history
    for mine, other in zip(state(model), state(clean), strict=True):
        if mine.shape or mine.dtype.kind == "f":  # All but the number of steps.
            np.testing.assert_array_equal(mine, other)
    assert history == expected


def kept_or_spoilt(change, message, balancer=None, **options):
    """Three good steps, then one that is changed; the state before and after it."""
    model = make_model(keras.optimizers.AdamW(1e-2, weight_decay=0.1), balancer)
    x, y, weight = batch(16)
    fit_rows = lambda rows, epochs=1: model.fit(  # noqa: E731
        *(keras.tree.map_structure(lambda each: each[rows], part) for part in (x, y)),
        sample_weight=keras.tree.map_structure(lambda each: each[rows], weight),
        batch_size=4,
        epochs=epochs,
        shuffle=False,
        verbose=0,
    )
    fit_rows(slice(0, 12))
    before = state(model)
    change(model, y, weight)
    with pytest.raises(FloatingPointError, match=message):
        fit_rows(slice(8, 16))
    return before, state(model)


@pytest.mark.parametrize("balancer", [None, "pcgrad"])
@pytest.mark.parametrize("what", ["weight", "target"])
def test_an_error_leaves_the_model_as_it_was(what, balancer):
    def change(model, y, weight):
        (weight if what == "weight" else y)["score"][8] = np.nan if what == "weight" else np.inf

    subject = "The sample weights of 'score' were" if what == "weight" else "The loss or gradient of 'score' was"
    for before, after in zip(*kept_or_spoilt(change, f"{subject} not finite at step 4. The model is as", balancer), strict=True):
        np.testing.assert_array_equal(before, after)


def test_an_update_that_spoils_the_weights_ends_the_training():
    def change(model, y, weight):
        model.optimizer.learning_rate.assign(np.nan)

    message = "What the update made of the weights was not finite at step 4. The weights are spoilt: load a checkpoint"
    _, after = kept_or_spoilt(change, message)
    assert not np.isfinite(after[0]).all()


@pytest.mark.parametrize("balancer", [None, "pcgrad"])
@pytest.mark.parametrize("accumulate", [None, 2])
def test_an_update_that_spoils_the_weights_is_undone(accumulate, balancer):
    """A rate that is no number; and one at which finite weights become infinite."""
    for rate in (np.nan, 3e38):
        model = make_model("sgd", balancer)
        model.compile(keras.optimizers.SGD(rate, momentum=0.9, gradient_accumulation_steps=accumulate), skip_nonfinite=True)
        x, y, weight = batch(8)
        y["score"] *= 1e3
        model.optimizer.build(model.trainable_variables)
        before = state(model)
        with pytest.warns(UserWarning, match="What the update made of the weights was not finite at step"):
            model.fit(x, y, sample_weight=weight, batch_size=2, shuffle=False, verbose=0)
        model.optimizer.learning_rate.assign(1e-4)
        trained = list(model.trainable_variables)
        for mine, other in zip(before, map(keras.ops.convert_to_numpy, trained), strict=False):
            np.testing.assert_array_equal(mine, other)
        model.fit(x, y, sample_weight=weight, batch_size=2, shuffle=False, verbose=0)
        assert all(np.isfinite(each).all() for each in state(model))


def test_steps_of_one_execution_are_counted():
    model = make_model("sgd")
    model.compile("sgd", skip_nonfinite=True, steps_per_execution=4)
    x, y, weight = batch(8)
    y["score"][[2, 6]] = np.inf
    with pytest.warns(UserWarning, match="not finite at step 2, and at 1 of those after it, which were left out") as told:
        model.fit(x, y, sample_weight=weight, batch_size=2, shuffle=False, verbose=0)
    assert len(told) == 1


def test_a_batch_is_left_out_of_an_accumulated_gradient():
    def trained(skip, bad):
        model = make_model("sgd")
        model.compile(keras.optimizers.SGD(0.1, gradient_accumulation_steps=2), skip_nonfinite=skip)
        x, y, weight = batch(4)
        if bad:
            y["score"][2:] = np.inf
        else:
            weight = {task: each * [1, 1, 0, 0] for task, each in weight.items()}
        model.fit(x, y, sample_weight=weight, batch_size=2, shuffle=False, verbose=0)
        return model.get_weights()

    with pytest.warns(UserWarning, match="left out"):
        left_out = trained(True, True)
    for mine, other in zip(left_out, trained(False, False), strict=True):
        np.testing.assert_array_equal(mine, other)


def test_a_loss_scale_looks_for_itself():
    model = make_model(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(1e-3), initial_scale=1e38))
    fit(model, bad=None)
    assert float(model.optimizer.dynamic_scale) < 1e38 and all(np.isfinite(each).all() for each in model.get_weights())


def test_a_scale_is_trusted_as_long_as_it_helps():
    variable = keras.Variable([0.0])
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD())
    optimizer.build([variable])
    guard = NonFiniteGuard(optimizer, [variable], {("b",): [variable]}, ["a", "b"], skip=False, compiled=False)
    assert guard.look(tf.constant([np.inf, 1.0]), ONES, [tf.constant([np.nan])])
    assert not guard.look(tf.constant([np.nan, 1.0]), ONES, [tf.constant([np.nan])])
    with pytest.raises(FloatingPointError, match="of 'a' was"):
        guard.check()
    assert not guard.look(tf.constant([np.inf, 1.0]), ONES, [tf.constant([1.0])])  # Which the optimizer would apply.
    with pytest.raises(FloatingPointError, match="of 'a' was"):
        guard.check()
    optimizer.dynamic_scale.assign(1.0)
    assert not guard.look(tf.constant([1.0, 1.0]), ONES, [tf.constant([np.nan])])
    with pytest.raises(FloatingPointError, match="of 'b' was"):
        guard.check()


def test_the_setting_is_saved(tmp_path):
    model = make_model("sgd")
    model.compile("sgd", skip_nonfinite=True)
    model.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").skip_nonfinite
