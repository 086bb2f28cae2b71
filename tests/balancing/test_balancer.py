import keras
import numpy as np
import pytest
import tensorflow as tf

from mtl.balancing import (
    CRMOGM,
    DBMTL,
    DWA,
    FAMO,
    RLW,
    AlignedMTL,
    Balancer,
    ExcessMTL,
    GradNorm,
    MoCo,
    PCGrad,
    Static,
    UncertaintyWeighting,
    get,
)
from tests.two_tasks import batch, make_model


def test_the_base_combines_nothing():
    with pytest.raises(NotImplementedError, match="Balancer does not say how it combines losses"):
        Balancer().combine([1.0], [True])


def test_the_base_has_no_weights_to_show():
    assert Balancer().current_weights() == {}


def test_half_made_methods_say_what_they_lack():
    class Half(Balancer):
        needs = "gramian"

    with pytest.raises(NotImplementedError, match="Half does not say how it weights gradients"):
        Half().weights(np.eye(2))
    Half.needs = "jacobian"  # type: ignore[assignment]
    with pytest.raises(NotImplementedError, match="Half does not say how it mixes gradients"):
        Half().aggregate(np.eye(2))


def test_a_method_for_gradients_shows_the_sum_of_the_losses():
    assert float(PCGrad().combine([1.0, 2.0, 4.0], [True, False, True])) == 5.0


def test_wrong_shapes():
    balancer = MoCo()
    with pytest.raises(ValueError, match=r"expects gradients of shape \[K, P\]; got \(3,\)"):
        balancer.aggregate([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=r"expects a Gramian of shape \[K, K\]; got \(2,\)"):
        PCGrad().weights([1.0, 2.0])
    with pytest.raises(ValueError, match=r"expects losses of shape \[K\]; got \(\)"):
        DWA().combine(1.0)
    balancer.bind(["a", "b"], 3)
    with pytest.raises(ValueError, match="tracks gradients of length 3; got 4"):
        balancer.aggregate(np.ones((2, 4)))
    with pytest.raises(ValueError, match=r"balances the 2 tasks \['a', 'b'\]; got 3"):
        balancer.aggregate(np.ones((3, 3)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: PCGrad().weights(np.ones((2, 3))), r"expects a Gramian of shape \[K, K\]; got \(2, 3\)"),
        (lambda: PCGrad().weights(np.eye(2), [True]), r"PCGrad expects active of shape \[2\], one a task; got \(1,\)"),
        (lambda: GradNorm().weights(np.eye(2), losses=[1.0, 2.0, 3.0]), r"GradNorm expects losses of shape \[2\], one a task"),
        (lambda: PCGrad().aggregate(np.zeros((0, 3))), "must know the number of tasks, 1 or more"),
        (lambda: AlignedMTL(preferences={"a": 9.0}).weights(np.eye(2)), "Unknown task in the balancer's preferences 'a'.*0, 1"),
        (lambda: get({"pcgrad": {"seed": 1.5}}), "PCGrad expects `seed` as a whole number; got 1.5"),
        (lambda: PCGrad(seed=2**70), r"PCGrad expects `seed` in \[0, "),
        (lambda: get({"gradnorm": {"alpha": "x"}}), "GradNorm expects `alpha` as a number; got 'x'"),
        (lambda: GradNorm(alpha=float("inf")), r"GradNorm expects `alpha` in \[0, inf\); got inf"),
        (lambda: Static({"a": float("inf")}), "finite weights of at least 0; got inf for task 'a'"),
    ],
)
def test_each_says_what_it_expects(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("method", [MoCo, ExcessMTL, DBMTL])
def test_gradients_whose_products_overflow_leave_the_state_alone(method):
    rows, losses = np.array([[1.0, 2.0], [3.0, -1.0]], "float32"), np.ones(2, "float32")
    balancer, other = method(), method()
    for each in (balancer, other):
        each.aggregate(rows, losses=losses)
    assert np.isnan(balancer.aggregate(rows * 1e20, losses=losses)).all()
    np.testing.assert_array_equal(balancer.aggregate(rows, losses=losses), other.aggregate(rows, losses=losses))


def test_the_number_of_tasks_must_be_known_when_tracing():
    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32)])
    def weights(gramian):
        return PCGrad().weights(gramian)

    with pytest.raises(ValueError, match="PCGrad must know the number of tasks, 1 or more, when traced"):
        weights(tf.eye(2))


def test_half_precision_is_computed_in_single():
    result = PCGrad().aggregate(tf.cast([[1.0, 0.0], [0.0, 1.0]], tf.bfloat16))
    assert result.dtype == tf.float32
    assert result.numpy().tolist() == [1.0, 1.0]


def test_weights_are_shown_until_a_task_is_active_again():
    balancer = FAMO()
    balancer.bind(["a", "b"])
    assert balancer.current_weights() == {}
    balancer.combine([1.0, 3.0])
    assert balancer.current_weights() == pytest.approx({"a": 0.75, "b": 0.25})
    balancer.combine([2.0, 0.0], [True, False])
    assert balancer.current_weights() == pytest.approx({"a": 1.0, "b": 0.25})


def rows(seed=0):
    return tf.data.Dataset.from_tensors(batch(seed=seed))


def same(one, other):
    assert len(one) == len(other) > 0
    for first, second in zip(one, other, strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("balancer", ["uncertainty_weighting", CRMOGM(RLW(seed=1))], ids=["trained", "wrapped"])
def test_the_model_trains_and_saves_the_state(balancer, tmp_path):
    model = make_model(keras.optimizers.Adam(0.1), balancer)
    start = [value.copy() for value in model.balancer.state.get_weights()]
    model.fit(rows(), epochs=2, verbose=0)
    state = model.balancer.state.get_weights()
    assert any((a != b).any() for a, b in zip(start, state, strict=True))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    same(loaded.balancer.state.get_weights(), state)
    assert type(loaded.balancer) is type(model.balancer)
    model.save_weights(tmp_path / "model.weights.h5")
    again = make_model(keras.optimizers.Adam(0.1), type(model.balancer).from_config(model.balancer.get_config()))
    again.optimizer.build(again.trainable_variables)
    again.load_weights(tmp_path / "model.weights.h5")
    same(again.balancer.state.get_weights(), state)
    # Both go on alike: the next step is the same, bit by bit.
    model.fit(rows(1), verbose=0)
    loaded.fit(rows(1), verbose=0)
    same(model.get_weights(), loaded.get_weights())


def test_trained_variables_follow_their_gradient():
    """Of e^-s L / 2 + s / 2 at s = 0 it is (1 - L) / 2: SGD moves s by that times the rate."""
    model = make_model(keras.optimizers.SGD(0.5), UncertaintyWeighting())
    losses = model.evaluate(rows(), verbose=0, return_dict=True)
    model.fit(rows(), verbose=0)
    for task in ("mood", "score"):
        (trained,) = model.balancer.task_variables(task)
        assert float(trained.value) == pytest.approx(-0.5 * 0.5 * (1 - losses[f"{task}_loss"]), rel=1e-5)
        assert any(trained is variable for variable in model.trainable_variables)


def test_evaluation_moves_no_state():
    model = make_model("sgd", "rlw")
    before = [value.copy() for value in model.balancer.state.get_weights()]
    result = model.evaluate(rows(), verbose=0, return_dict=True)
    same(before, model.balancer.state.get_weights())
    assert result["loss"] == pytest.approx((result["mood_loss"] + result["score_loss"]) / 2, rel=1e-5)


def test_a_second_model_takes_a_balancer_of_its_own():
    balancer = UncertaintyWeighting()
    first, second = make_model("sgd", balancer), make_model("sgd", balancer)
    assert first.balancer is balancer and first.balancer_state is balancer.state
    assert second.balancer is not balancer and second.balancer_state is second.balancer.state is not balancer.state
