import keras
import numpy as np
import pytest
import tensorflow as tf

from mtl.training.non_finite_guard import NonFiniteGuard
from tests.two_tasks import batch, make_model


def fit(model, steps=4, bad=2, task="score", **kwargs):
    """Steps of two rows, of which one has a target that is not a number."""
    x, y, weight = batch(2 * steps)
    if bad is not None:
        y[task] = y[task].astype("float32")
        y[task][2 * bad] = np.nan
    return model.fit(x, y, sample_weight=weight, batch_size=2, shuffle=False, verbose=0, **kwargs)


def state(model):
    return [keras.ops.convert_to_numpy(each.value) for each in (*model.trainable_variables, *model.optimizer.variables)]


def test_the_task_and_the_step_are_named():
    with pytest.raises(FloatingPointError, match=r"The loss or gradient of 'score' was not finite at step 3\. Lower"):
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
    guard = NonFiniteGuard(
        optimizer, [shared, own, unused], {("b",): [own]}, ["a", "b"], skip=False, accumulates=False, compiled=False
    )
    assert guard.look(tf.constant([1.0, 1.0]), [tf.zeros(1), tf.ones(1), None])
    guard.check()
    assert not guard.look(tf.constant(losses), [tf.constant([each]) for each in gradients] + [None])
    guard.look(tf.constant([1.0, 1.0]), [tf.zeros(1), tf.ones(1), None])  # The first fault is the one to tell of.
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


def test_steps_of_one_execution_are_counted():
    model = make_model("sgd")
    model.compile("sgd", skip_nonfinite=True, steps_per_execution=4)
    x, y, weight = batch(8)
    y["score"][[2, 6]] = np.nan
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
    guard = NonFiniteGuard(optimizer, [variable], {("b",): [variable]}, ["a", "b"], skip=False, accumulates=False, compiled=False)
    assert guard.look(tf.constant([np.inf, 1.0]), [tf.constant([np.nan])])
    assert not guard.look(tf.constant([np.nan, 1.0]), [tf.constant([np.nan])])
    with pytest.raises(FloatingPointError, match="of 'a' was"):
        guard.check()
    assert not guard.look(tf.constant([np.inf, 1.0]), [tf.constant([1.0])])  # Which the optimizer would apply.
    with pytest.raises(FloatingPointError, match="of 'a' was"):
        guard.check()
    optimizer.dynamic_scale.assign(1.0)
    assert not guard.look(tf.constant([1.0, 1.0]), [tf.constant([np.nan])])
    with pytest.raises(FloatingPointError, match="of 'b' was"):
        guard.check()


def test_the_setting_is_saved(tmp_path):
    model = make_model("sgd")
    model.compile("sgd", skip_nonfinite=True)
    model.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").skip_nonfinite
