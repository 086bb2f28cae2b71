"""What every balancer keeps. A new balancer joins with one row in `CASES`."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtl.balancing import Balancer, Static

TASKS = ("a", "b", "c")


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Args:
        balancer: makes the balancer from weights of some of the tasks `a`, `b` and `c`, or ignores them.
        linear: whether twice the losses (or gradients) are twice the update.
    """

    balancer: Callable[[dict[str, float]], Balancer]
    linear: bool = True


CASES = {
    "static": Case(lambda weights: Static()),
    "static, weights": Case(lambda weights: Static(weights)),
    "static, mean": Case(lambda weights: Static(weights, "mean")),
}
WEIGHTS = {"a": 3.0, "c": 0.25}

each = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def update(balancer: Balancer, losses: Any, active: Any = (True, True, True)) -> tuple[float, np.ndarray]:
    """The combined loss, and what each task's gradient counts in it."""
    values = tf.constant(losses, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(values)
        total = balancer.combine(values, tf.constant(active))
    assert total.shape == () and total.dtype == tf.float32
    return float(total), tape.gradient(total, values).numpy()


def connected(balancer: Balancer, tasks: Sequence[str] = TASKS) -> Balancer:
    balancer.connect(tasks)
    return balancer


@each
@pytest.mark.parametrize("scale", [0.0, 1e-10, 1.0, 1e15])
@pytest.mark.parametrize("active", [(True, True, True), (False, True, False), (False, False, False)])
def test_the_update_is_finite(case, scale, active):
    losses = np.where(active, np.array([1.0, 2.0, 0.5]) * scale, 0.0)
    total, weights = update(connected(case.balancer(WEIGHTS)), losses, active)
    assert np.isfinite(total) and np.isfinite(weights).all()


@each
def test_the_order_of_the_tasks_does_not_matter(case):
    total, weights = update(connected(case.balancer(WEIGHTS)), [1.0, 2.0, 4.0], [True, True, False])
    turned, turned_weights = update(connected(case.balancer(WEIGHTS), "cab"), [4.0, 1.0, 2.0], [False, True, True])
    assert turned == pytest.approx(total)
    np.testing.assert_allclose(turned_weights, weights[[2, 0, 1]], rtol=1e-6)


@each
def test_the_update_is_linear_under_scaling(case):
    if not case.linear:
        pytest.skip("this balancer's weights depend on the size of the losses")
    total, weights = update(connected(case.balancer(WEIGHTS)), [1.0, 2.0, 4.0])
    for scale in (1e-6, 2.0, 1e6):
        scaled, scaled_weights = update(connected(case.balancer(WEIGHTS)), [scale, 2.0 * scale, 4.0 * scale])
        assert scaled == pytest.approx(scale * total, rel=1e-5)
        np.testing.assert_allclose(scaled_weights, weights, rtol=1e-5)


@each
@pytest.mark.parametrize("missing", range(3))
def test_a_missing_task_is_left_out(case, missing):
    rest = [task for task in TASKS if task != TASKS[missing]]
    losses, active = np.array([1.0, 2.0, 4.0]), np.arange(3) != missing
    total, weights = update(connected(case.balancer(WEIGHTS)), losses * active, active)
    alone, alone_weights = update(connected(case.balancer(WEIGHTS).subset(rest), rest), losses[active], [True, True])
    assert total == pytest.approx(alone)
    np.testing.assert_allclose(weights[active], alone_weights, rtol=1e-6)
    assert weights[missing] == 0.0


@each
def test_the_weights_shown_are_those_of_the_update(case):
    balancer = connected(case.balancer(WEIGHTS))
    _, weights = update(balancer, [1.0, 2.0, 4.0])
    shown = balancer.current_weights()
    assert not shown or shown == pytest.approx(dict(zip(TASKS, weights.tolist(), strict=True)))


@each
def test_configuration(case):
    balancer = case.balancer(WEIGHTS)
    written = json.dumps(keras.saving.serialize_keras_object(balancer))
    copy = keras.saving.deserialize_keras_object(json.loads(written))
    assert type(copy) is type(balancer) and copy.get_config() == balancer.get_config()
    losses, active = [1.0, 2.0, 0.0], [True, True, False]
    first, second = update(connected(balancer), losses, active), update(connected(copy), losses, active)
    assert first[0] == second[0]
    np.testing.assert_array_equal(first[1], second[1])


@each
def test_a_subset_is_its_own(case):
    balancer = case.balancer(WEIGHTS)
    before = balancer.get_config()
    part = connected(balancer.subset(["a"]), ["a"])
    assert part is not balancer and type(part) is type(balancer) and balancer.get_config() == before
    assert np.isfinite(update(part, [2.0], [True])[0])
