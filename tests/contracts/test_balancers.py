"""What every balancer keeps. A new balancer joins with one row in `CASES`."""

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtl.balancing import (
    CRMOGM,
    DBMTL,
    DTP,
    DWA,
    FAMO,
    GLS,
    IMTL,
    IMTLG,
    IMTLL,
    MGDA,
    RLW,
    STCH,
    AlignedMTL,
    Balancer,
    CAGrad,
    Clipped,
    ConFIG,
    DualProj,
    ExcessMTL,
    FairGrad,
    GradDrop,
    GradNorm,
    GradVac,
    MoCo,
    NashMTL,
    PCGrad,
    Scheduled,
    SDMGrad,
    Static,
    UncertaintyWeighting,
    UPGrad,
)
from tests.two_tasks import batch, make_model

TASKS = ("a", "b", "c")
WEIGHTS = {"a": 3.0, "c": 0.25}
LOSSES = [1.0, 2.0, 4.0]


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Args:
        balancer: makes the balancer from weights of some of the tasks `a`, `b` and `c`, or ignores them.
        linear: whether twice the losses are twice the loss, and twice the gradients twice the direction.
        ordered: whether the order of the tasks matters, which draws at random do.
        drawn: whether a missing task changes what is drawn for the others.
        harmless: whether the direction never points against a task's gradient.
        rests: whether, at a stationary point, no loss rises along the direction.
    """

    balancer: Callable[[dict[str, float]], Balancer]
    linear: bool = True
    ordered: bool = False
    drawn: bool = False
    harmless: bool = False
    rests: bool = False


CASES = {
    "static": Case(lambda weights: Static()),
    "static, weights": Case(lambda weights: Static(weights)),
    "static, mean": Case(lambda weights: Static(weights, "mean")),
    "scheduled": Case(lambda weights: Scheduled({task: [[0, w], [2, 2 * w]] for task, w in weights.items()})),
    "uncertainty": Case(lambda weights: UncertaintyWeighting()),
    "imtl-l": Case(lambda weights: IMTLL()),
    "imtl-g": Case(lambda weights: IMTLG(), rests=True),
    "imtl": Case(lambda weights: IMTL(), rests=True),
    "dwa": Case(lambda weights: DWA()),
    "rlw": Case(lambda weights: RLW(seed=3), ordered=True, drawn=True),
    "gls": Case(lambda weights: GLS()),
    "stch": Case(lambda weights: STCH(mu=0.5, preferences=weights, ideals={"b": 0.25}), linear=False),
    "stch, warm-up": Case(lambda weights: STCH(warmup_steps=2), linear=False),
    "famo": Case(lambda weights: FAMO()),
    "famo, bounds": Case(lambda weights: FAMO(bounds={task: -weight for task, weight in weights.items()}), linear=False),
    "dtp": Case(lambda weights: DTP()),
    "clipped": Case(lambda weights: Clipped(1.5, weights), linear=False),
    "gradnorm": Case(lambda weights: GradNorm()),
    "mgda": Case(lambda weights: MGDA(), harmless=True, rests=True),
    "mgda, l2": Case(lambda weights: MGDA("l2")),
    "mgda, loss": Case(lambda weights: MGDA("loss")),
    "mgda, loss+": Case(lambda weights: MGDA("loss+")),
    "pcgrad": Case(lambda weights: PCGrad(seed=1), ordered=True),
    "gradvac": Case(lambda weights: GradVac(beta=0.5), ordered=True),
    "cagrad": Case(lambda weights: CAGrad()),
    "cagrad, rescaled": Case(lambda weights: CAGrad(c=0.8, rescale=1)),
    "nash": Case(lambda weights: NashMTL(), linear=False, harmless=True, rests=True),
    "nash, uncapped, kept": Case(lambda weights: NashMTL(max_norm=None, update_every=3), linear=False, harmless=True, rests=True),
    "fairgrad": Case(lambda weights: FairGrad(alpha=2.0), linear=False, harmless=True, rests=True),
    "aligned": Case(lambda weights: AlignedMTL(), rests=True),
    "aligned, weights": Case(lambda weights: AlignedMTL("median", weights)),
    "aligned, rmse": Case(lambda weights: AlignedMTL("rmse")),
    "dualproj": Case(lambda weights: DualProj(), harmless=True, rests=True),
    "upgrad": Case(lambda weights: UPGrad(), harmless=True, rests=True),
    "config": Case(lambda weights: ConFIG(), rests=True),
    "graddrop": Case(lambda weights: GradDrop(leak=0.2)),
    "db-mtl": Case(lambda weights: DBMTL()),
    "moco": Case(lambda weights: MoCo(), linear=False),
    "sdmgrad": Case(lambda weights: SDMGrad()),
    "excess": Case(lambda weights: ExcessMTL()),
    "cr-mogm": Case(lambda weights: CRMOGM(MGDA("loss")), harmless=False),
    "cr-mogm of losses": Case(lambda weights: CRMOGM(DWA())),
    "cr-mogm of gradients": Case(lambda weights: CRMOGM(ExcessMTL(), momentum=0.5)),
}

each = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
LOSS_CASES = {name: case for name, case in CASES.items() if case.balancer(WEIGHTS).needs == "losses"}
each_of_losses = pytest.mark.parametrize("case", LOSS_CASES.values(), ids=LOSS_CASES)
# Of the others, whose loss is the sum, two stand for all.
COMBINED = LOSS_CASES | {name: CASES[name] for name in ("imtl", "mgda")}
each_combined = pytest.mark.parametrize("case", COMBINED.values(), ids=COMBINED)


def update(balancer: Balancer, losses: Any, active: Any = (True, True, True)) -> tuple[float, np.ndarray]:
    """The combined loss, and what each task's gradient counts in it."""
    values = tf.constant(losses, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(values)
        total = balancer.combine(values, tf.constant(active))
    assert total.shape == () and total.dtype == tf.float32
    return float(total), tape.gradient(total, values).numpy()


def bound(balancer: Balancer, tasks: Sequence[str] = TASKS, size: int | None = None) -> Balancer:
    balancer.bind(tasks, size)
    return balancer


def towards(balancer: Balancer, jacobian: Any, losses: Any, active: Any = None) -> Any:
    """The direction of the update: of a method for losses, the gradient of its loss."""
    if balancer.needs != "losses":
        return balancer.aggregate(jacobian, active, losses if balancer.uses_losses else None)
    with tf.GradientTape() as tape:
        tape.watch(losses)
        total = balancer.combine(losses, active)
    present = tf.ones([len(jacobian), 1], tf.bool) if active is None else active[:, None]
    rows = tf.where(present, jacobian, tf.zeros_like(jacobian))
    return tf.linalg.matvec(rows, tf.cast(tape.gradient(total, losses), rows.dtype), transpose_a=True)


def direction(
    balancer: Balancer, jacobian: Any, losses: Any = LOSSES, active: Any = None, dtype: str = "float32", graph: bool = False
) -> np.ndarray:
    """`towards`, from arrays, from the state that the balancer has now."""
    count = len(jacobian)
    active = tf.fill([count], True) if active is None else tf.constant(active)
    function = tf.function(towards, autograph=False) if graph else towards
    return function(balancer, tf.constant(jacobian, dtype), tf.constant(losses[:count], dtype), active).numpy()


def gradients(tasks: int = 3, size: int = 6, seed: int = 0) -> np.ndarray:
    """Gradients with conflicts between them."""
    return np.random.default_rng(seed).normal(size=(tasks, size)) + np.linspace(-0.5, 0.5, tasks)[:, None]


# The face for losses ----------------------------------------------------------------------------------------------


@each_combined
def test_the_loss_is_finite(case):
    for scale in (0.0, 1e-10, 1.0, 1e15):
        for active in ((True, True, True), (False, True, False), (False, False, False)):
            losses = np.where(active, np.array([1.0, 2.0, 0.5]) * scale, 0.0)
            total, weights = update(bound(case.balancer(WEIGHTS)), losses, active)
            assert np.isfinite(total) and np.isfinite(weights).all(), (scale, active)


@each_combined
def test_the_order_of_the_losses_does_not_matter(case):
    if case.ordered:
        pytest.skip("this balancer draws at random")
    total, weights = update(bound(case.balancer(WEIGHTS)), [1.0, 2.0, 4.0], [True, True, False])
    turned, turned_weights = update(bound(case.balancer(WEIGHTS), "cab"), [4.0, 1.0, 2.0], [False, True, True])
    assert turned == pytest.approx(total)
    np.testing.assert_allclose(turned_weights, weights[[2, 0, 1]], rtol=1e-6)


@each_of_losses
def test_the_loss_is_linear_under_scaling(case):
    if not case.linear:
        pytest.skip("this balancer's weights depend on the size of the losses")
    total, weights = update(bound(case.balancer(WEIGHTS)), [1.0, 2.0, 4.0])
    for scale in (1e-6, 2.0, 1e6):
        scaled, scaled_weights = update(bound(case.balancer(WEIGHTS)), [scale, 2.0 * scale, 4.0 * scale])
        assert scaled == pytest.approx(scale * total, rel=1e-5)
        np.testing.assert_allclose(scaled_weights, weights, rtol=1e-5)


@each_combined
@pytest.mark.parametrize("missing", range(3))
def test_a_missing_task_is_left_out_of_the_loss(case, missing):
    rest = [task for task in TASKS if task != TASKS[missing]]
    losses, active = np.array([1.0, 2.0, 4.0]), np.arange(3) != missing
    total, weights = update(bound(case.balancer(WEIGHTS)), np.where(active, losses, np.nan), active)
    assert weights[missing] == 0.0
    if not case.drawn:
        alone, alone_weights = update(bound(case.balancer(WEIGHTS).subset(rest), rest), losses[active], [True, True])
        assert total == pytest.approx(alone)
        np.testing.assert_allclose(weights[active], alone_weights, rtol=1e-6)


@each_of_losses
def test_the_weights_shown_are_those_of_the_update(case):
    balancer = bound(case.balancer(WEIGHTS))
    _, weights = update(balancer, [1.0, 2.0, 4.0])
    assert balancer.current_weights() == pytest.approx(dict(zip(TASKS, weights.tolist(), strict=True)))


@each
def test_a_figure_to_look_at_changes_nothing(case):
    balancer = bound(case.balancer(WEIGHTS), size=4)
    before = balancer.state.get_weights()
    assert np.isfinite(float(balancer.combine(LOSSES, training=False)))
    for old, new in zip(before, balancer.state.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


# The direction ----------------------------------------------------------------------------------------------------

SPECIAL = {
    "random": gradients(),
    "zero": np.zeros((3, 6)),
    "one zero": gradients() * [[1.0], [0.0], [1.0]],
    "rank-deficient": np.outer([1.0, -2.0, 0.5], gradients()[0]),
    "equal": np.ones((3, 6)),
    "strongly stationary": np.concatenate([gradients()[:2], -gradients()[:2].sum(0, keepdims=True)]),
    "weakly stationary": np.stack([gradients()[0], -2.0 * gradients()[0], gradients()[1]]),
}


@each
def test_the_direction_is_finite(case):
    balancer = bound(case.balancer(WEIGHTS), size=6)
    start = balancer.state.get_weights()
    for kind, jacobian in SPECIAL.items():
        for scale in (1e-10, 1.0, 1e15):
            balancer.state.set_weights(start)
            result = direction(balancer, jacobian * scale)
            assert result.shape == (6,) and np.isfinite(result).all(), (kind, scale)


STATIONARY = {
    "in a plane": SPECIAL["strongly stationary"],
    "of uneven lengths": SPECIAL["strongly stationary"] * [[1e-2], [1.0], [1e2]],
    "two opposite": SPECIAL["weakly stationary"],
    "all on one line": np.outer([1.0, -0.99, 0.3], gradients()[0]),
    "the mean is 0": gradients() - gradients().mean(axis=0),
    "one is 0": np.stack([gradients()[0], -0.5 * gradients()[0], 0.0 * gradients()[0]]),
}


@each
def test_at_a_stationary_point_no_step_is_long(case):
    """There a convex combination of the gradients is 0, so any direction but 0 or one at right angles raises some loss."""
    balancer = bound(case.balancer(WEIGHTS), size=6)
    start, function, active = balancer.state.get_weights(), tf.function(towards, autograph=False), tf.fill([3], True)
    for dtype in ("float32", "float64") if case.rests else ("float32",):
        for kind, distance in itertools.product(STATIONARY, (0.0, 1e-7, 1e-3)):
            jacobian = STATIONARY[kind]
            jacobian = jacobian + distance * np.linalg.norm(jacobian, axis=1, keepdims=True) * gradients(seed=5)
            norms = np.linalg.norm(jacobian, axis=1)
            balancer.state.set_weights(start)
            result = (
                function(balancer, tf.constant(jacobian, dtype), tf.constant(LOSSES, dtype), active).numpy().astype("float64")
            )
            assert np.isfinite(result).all() and np.linalg.norm(result) <= 15 * norms.max(), (kind, distance, dtype)
            if case.rests and not distance:
                rise = -(jacobian @ result / np.where(norms > 0, norms, 1.0)).min()
                assert rise <= (1e-3 if dtype == "float32" else 1e-4) * norms.max(), (kind, dtype)


@each
def test_the_order_of_the_gradients_does_not_matter(case):
    if case.ordered:
        pytest.skip("this balancer draws at random")
    jacobian, turn = gradients(), [2, 0, 1]
    expected = direction(bound(case.balancer(WEIGHTS)), jacobian)
    turned = direction(bound(case.balancer(WEIGHTS), "cab"), jacobian[turn], [LOSSES[i] for i in turn])
    np.testing.assert_allclose(turned, expected, rtol=1e-4, atol=1e-5)


@each
def test_the_direction_is_linear_under_scaling(case):
    if not case.linear:
        pytest.skip("this balancer's weights depend on the size of the gradients")
    balancer = bound(case.balancer(WEIGHTS), size=6)
    start = balancer.state.get_weights()
    expected = direction(balancer, gradients(), dtype="float64")
    for scale in (1e-10, 1e10):
        balancer.state.set_weights(start)
        scaled = direction(balancer, gradients() * scale, dtype="float64")
        # ExcessMTL and DBMTL have small constants that count where gradients are smaller still.
        np.testing.assert_allclose(scaled / scale, expected, rtol=1e-5, atol=1e-7)


@each
@pytest.mark.parametrize("missing", [0, 1])
def test_a_missing_task_is_left_out_of_the_direction(case, missing):
    active = np.arange(3) != missing
    rest = [task for task, here in zip(TASKS, active, strict=True) if here]
    jacobian, losses = np.where(active[:, None], gradients(), np.nan), np.where(active, LOSSES, np.nan)
    result = direction(bound(case.balancer(WEIGHTS)), jacobian, losses, active)
    assert np.isfinite(result).all()
    if not case.drawn:
        alone = bound(case.balancer(WEIGHTS).subset(rest), rest)
        np.testing.assert_allclose(result, direction(alone, gradients()[active], np.array(LOSSES)[active]), rtol=1e-4, atol=1e-5)


@each
def test_one_task_goes_its_own_way(case):
    gradient = np.array([[3.0, -4.0, 0.0]])
    result = direction(bound(case.balancer(WEIGHTS).subset(["a"]), ["a"]), gradient)
    cosine = result @ gradient[0] / (5.0 * np.linalg.norm(result))
    assert cosine == pytest.approx(1.0, abs=1e-5)


@each
def test_the_direction_harms_no_task(case):
    if not case.harmless:
        pytest.skip("this balancer may harm a task")
    for tasks, size in ((2, 5), (5, 10), (6, 3)):
        balancer = bound(case.balancer({}), [str(i) for i in range(tasks)])
        start = balancer.state.get_weights()
        for seed in range(2):
            balancer.state.set_weights(start)
            jacobian = gradients(tasks, size, seed)
            result = direction(balancer, jacobian, [1.0] * tasks, dtype="float64")
            along = jacobian @ result / np.linalg.norm(jacobian, axis=1)
            # With more gradients than parameters there may be no common way, and the direction is 0 but for rounding.
            assert along.min() >= -(1e-6 if tasks <= size else 1e-3) * np.linalg.norm(jacobian), (tasks, size, seed)


@each
def test_precisions_and_modes_agree(case):
    """Single and double precision; eager operations and a graph."""
    balancer = bound(case.balancer(WEIGHTS), size=6)
    start = balancer.state.get_weights()
    double = direction(balancer, gradients(), dtype="float64")
    balancer.state.set_weights(start)
    single = direction(balancer, gradients())
    balancer.state.set_weights(start)
    graph = direction(balancer, gradients(), graph=True)
    assert (double.dtype, single.dtype, graph.dtype) == ("float64", "float32", "float32")
    np.testing.assert_allclose(single, double, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(graph, single, rtol=1e-5, atol=1e-6)


@each
def test_alone_it_connects_itself(case):
    """Also where its variables are first made inside a graph."""
    balancer = case.balancer({})
    if "b" in (balancer.get_config().get("ideals") or {}):
        pytest.skip("this balancer names a task")
    assert np.isfinite(direction(balancer, gradients(), graph=True)).all()
    assert len(balancer.tasks) == 3
    assert direction(balancer, gradients(2, 4), LOSSES[:2]).shape == (4,)


@each
def test_what_is_not_finite_shows_and_leaves_the_state_alone(case):
    balancer = bound(case.balancer(WEIGHTS), size=6)
    if balancer.needs == "losses":
        total = balancer.combine([1.0, float("inf"), 1.0])
        assert not np.isfinite(float(total))
    else:
        direction(balancer, gradients())
        before = [value.copy() for value in balancer.state.get_weights()]
        result = direction(balancer, np.where(np.eye(3, 6, dtype=bool), np.inf, gradients()))
        assert not np.isfinite(result).any()
        for old, new in zip(before, balancer.state.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)
    assert all(np.isfinite(value).all() for value in balancer.state.get_weights())


# Configuration and state ------------------------------------------------------------------------------------------


def train(balancer: Balancer, steps: range) -> list[np.ndarray]:
    """Steps of a training with epochs of two steps, and tasks that are missing now and then."""
    results = []
    for step in steps:
        losses, active = np.array(LOSSES) / (1.0 + 0.3 * step * np.arange(3)), np.arange(3) != step
        results.append(direction(balancer, gradients(seed=step), losses, active))
        for variable in balancer.state.trainable_variables:
            variable.assign(variable + 0.01 * (step + 1))
        if balancer.looks_ahead:
            balancer.after_step(0.9 * losses, active)
        if balancer.uses_metrics:
            balancer.observe([0.5, 0.6, 0.7 + 0.01 * step], active)
        if step % 2:
            balancer.after_epoch()
    return results


@each
def test_state(case, tmp_path):
    """A training that is cut and goes on is bitwise the training in one."""
    expected = train(bound(case.balancer(WEIGHTS), size=6), range(7))
    first = bound(case.balancer(WEIGHTS), size=6)
    train(first, range(4))
    path = tf.train.Checkpoint(state=first.state).write(str(tmp_path / "state"))
    second = bound(case.balancer(WEIGHTS), size=6)
    tf.train.Checkpoint(state=second.state).read(path).assert_consumed()
    for one, other in zip(train(second, range(4, 7)), expected[4:], strict=True):
        np.testing.assert_array_equal(one, other)


@each
def test_connecting_again_keeps_the_state(case):
    balancer = bound(case.balancer(WEIGHTS), size=6)
    state = balancer.state
    balancer.bind(list(TASKS))
    assert balancer.state is state
    balancer.bind(["a", "c", "b"], 6)
    assert balancer.state is not state


@each
def test_configuration(case):
    balancer = case.balancer(WEIGHTS)
    written = json.dumps(keras.saving.serialize_keras_object(balancer))
    copy = keras.saving.deserialize_keras_object(json.loads(written))
    assert type(copy) is type(balancer) and copy.get_config() == balancer.get_config()
    losses, active = [1.0, 2.0, 0.0], [True, True, False]
    first, second = update(bound(balancer), losses, active), update(bound(copy), losses, active)
    assert first[0] == second[0]
    np.testing.assert_array_equal(first[1], second[1])


@each
def test_a_subset_is_its_own(case):
    balancer = case.balancer(WEIGHTS)
    before = balancer.get_config()
    part = bound(balancer.subset(["a"]), ["a"])
    assert part is not balancer and type(part) is type(balancer) and balancer.get_config() == before
    assert np.isfinite(update(part, [2.0], [True])[0])


@each
def test_the_face_that_is_not_its_own_says_so(case):
    balancer = bound(case.balancer(WEIGHTS))
    if balancer.needs != "gramian":
        with pytest.raises(ValueError, match=r"finds no weights from a Gramian; call (combine|aggregate)"):
            balancer.weights(np.eye(3))
    if balancer.needs == "losses":
        with pytest.raises(ValueError, match="balances losses, not gradients; call combine"):
            balancer.aggregate(np.eye(3))
    if balancer.uses_losses:
        with pytest.raises(ValueError, match="by the tasks' losses as well; give losses="):
            balancer.aggregate(np.eye(3))


#: One case of each kind that has a state.
STATEFUL = {
    type(case.balancer(WEIGHTS)): name
    for name, case in CASES.items()
    if len(bound(case.balancer(WEIGHTS), size=6).state.weights) > 1
}


@pytest.mark.slow
@pytest.mark.parametrize("case", STATEFUL.values())
def test_a_saved_model_goes_on_as_if_nothing_had_been(case, tmp_path):
    """State and training, bitwise: two epochs at once, and one, saved and loaded, and one more."""
    x, y, weight = batch(mood=[1, 0, 0, 1, 0, 1, 1, 2.0], score=[0, 0.5, 1, 0, 0, 1, 1, 0])
    options = {"sample_weight": weight, "batch_size": 4, "shuffle": False, "verbose": 0}
    whole = make_model(keras.optimizers.Adam(0.01), CASES[case].balancer({"mood": 2.0}))
    start = [variable.numpy() for variable in whole.weights]
    part = make_model(keras.optimizers.Adam(0.01), CASES[case].balancer({"mood": 2.0}))
    for variable, value in zip(part.weights, start, strict=True):
        variable.assign(value)
    whole.fit(x, y, epochs=2, **options)
    part.fit(x, y, **options)
    part.save(tmp_path / "part.keras")
    loaded = keras.saving.load_model(tmp_path / "part.keras")
    assert type(loaded.balancer) is type(part.balancer)
    for kept, state in zip(loaded.balancer_state.weights, part.balancer_state.weights, strict=True):
        np.testing.assert_array_equal(kept.numpy(), state.numpy())
    loaded.fit(x, y, **options)
    for mine, expected in zip(loaded.weights, whole.weights, strict=True):
        np.testing.assert_array_equal(mine.numpy(), expected.numpy(), err_msg=expected.path)
