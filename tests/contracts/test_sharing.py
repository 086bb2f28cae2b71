"""What every way of sharing keeps. A new one joins with one row in `CASES`."""

import json
from collections.abc import Callable

import keras
import numpy as np
import pytest

from mtl import Task
from mtl.heads import Classification
from mtl.sharing import Hard, Sharing, Soft
from mtl.training.gradients.dependencies import dependencies_of
from tests.tiny import Bag
from tests.two_tasks import batch, make_model

# Keras writes its files from TensorFlow's variables, whose NumPy conversion is older than NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

CASES: dict[str, Callable[[], Sharing]] = {
    "hard": Hard,
    "hard, own tops": lambda: Hard(top_layers=1),
    "hard, tops by groups": lambda: Hard(top_layers=1, groups={"both": ["mood", "score"]}),
    "soft": lambda: Soft(0.1),
    "soft, not tied": lambda: Soft(0.0),
}
each = pytest.mark.parametrize("make", CASES.values(), ids=CASES)


def cut(sharing: Sharing) -> bool:
    """Whether a way of sharing cuts the encoder, which then needs more than one block."""
    return bool(sharing.get_config().get("top_layers"))


def trained(make: Callable[[], Sharing]):
    """A model after two steps, in which the tasks' own layers have come apart."""
    model = make_model(keras.optimizers.AdamW(0.05), sharing=make(), top=cut(make()))
    x, y, weight = batch(score=[0, 0, 1, 1, 1, 1, 1, 0])
    model.fit(x, y, sample_weight=weight, epochs=2, verbose=0)
    return model


def predictions(model, tasks=("mood", "score")) -> dict[str, np.ndarray]:
    found = model.predict(batch(seed=5)[0], verbose=0)
    return {task: found[task] for task in tasks}


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for task, values in expected.items():
        np.testing.assert_allclose(found[task], values, atol=1e-6, err_msg=task)


@each
def test_each_task_gets_features_of_its_encoder(make):
    encoder = Bag(width=6, top=cut(make()))
    sharing = make().bind(encoder, ["mood", "score", "c"])
    x = {"token_ids": np.array([[3, 4, 5, 0]] * 2, "int32"), "padding_mask": np.array([[1, 1, 1, 0]] * 2, "int32")}
    features = sharing.features({name: keras.ops.convert_to_tensor(value) for name, value in x.items()}, ["mood", "c"])
    assert sorted(features) == ["c", "mood"]
    for task, found in features.items():
        assert found["sequence"].shape == (2, 4, 6) and found["pooled"].shape == (2, 6)
        for name, value in x.items():
            np.testing.assert_array_equal(found[name], value)
        expected = sharing.whole_encoder(task)(x)["pooled"]
        np.testing.assert_allclose(found["pooled"], expected, atol=1e-6)


@each
def test_it_begins_with_the_encoder_given(make):
    encoder = Bag(top=cut(make()))
    sharing = make().bind(encoder, ["mood", "score"])
    for task in ("mood", "score"):
        for mine, given in zip(sharing.whole_encoder(task).get_weights(), encoder.get_weights(), strict=True):
            np.testing.assert_array_equal(mine, given)
    for penalty in sharing.penalties():
        assert float(penalty.bind(sharing.parts()).value()) == pytest.approx(0.0, abs=1e-10)


@each
def test_one_description_serves_several_models(make):
    top = cut(make())
    described, first, second = make(), Bag(top=top), Bag(top=top)
    one, two = described.bind(first, ["mood", "score"]), described.bind(second, ["mood", "score"])
    assert one is not described and type(one) is type(described)
    assert one.encoder_of("mood") is first and two.encoder_of("mood") is second
    assert one.encoder_of("score") is not two.encoder_of("score")


@each
def test_configuration(make):
    sharing = make()
    written = json.dumps(keras.saving.serialize_keras_object(sharing))
    copy = keras.saving.deserialize_keras_object(json.loads(written))
    assert type(copy) is type(sharing) and copy.get_config() == sharing.get_config()


@each
def test_a_saved_model_predicts_the_same(make, tmp_path):
    model = trained(make)
    model.save(tmp_path / "model.keras")
    copy = keras.saving.load_model(tmp_path / "model.keras")
    assert_same(predictions(copy), predictions(model))
    assert copy.sharing.get_config() == model.sharing.get_config()
    x, y, weight = batch(seed=2)
    for each in (model, copy):
        each.fit(x, y, sample_weight=weight, verbose=0)
    assert_same(predictions(copy), predictions(model))


@each
def test_the_parts_are_all_weights_and_say_who_depends_on_them(make):
    model = trained(make)
    parts = model.parts()
    held = {id(weight) for part in parts.values() for weight in part.layer.weights}
    assert {id(weight) for weight in model.trainable_weights} <= held
    reached = dependencies_of(model).variables
    for name, part in parts.items():
        for weight in part.layer.weights:
            users = tuple(task for task in model.task_names if any(weight is variable for variable in reached[task]))
            assert users == part.tasks, name


@each
def test_a_task_without_rows_leaves_its_own_layers_as_they_were(make):
    model = trained(make)
    own = [weight for part in model.parts().values() if part.tasks == ("score",) for weight in part.layer.weights]
    others = [weight for weight in model.weights if all(weight is not mine for mine in own)]
    before, moving = [weight.numpy() for weight in own], [weight.numpy() for weight in others]
    x, y, weight = batch(score=np.zeros(8))
    model.fit(x, y, sample_weight=weight, verbose=0)
    for kept, now in zip(before, own, strict=True):
        np.testing.assert_array_equal(kept, now.numpy())
    assert any((old != now.numpy()).any() for old, now in zip(moving, others, strict=True))


@each
def test_a_subset_predicts_the_same_and_is_its_own(make):
    model = trained(make)
    before = predictions(model)
    for task in ("mood", "score"):
        part = model.subset([task])
        assert part.task_names == (task,)
        assert_same(predictions(part, (task,)), {task: before[task]})
        part.compile(keras.optimizers.SGD(1.0))
        x, y, weight = batch()
        part.fit(x, {task: y[task]}, sample_weight={task: weight[task]}, verbose=0)
    assert_same(predictions(model), before)
    assert_same(predictions(model.subset(["mood", "score"])), before)


@each
def test_a_task_more_leaves_the_others_predictions(make):
    model = trained(make)
    before = predictions(model)
    more = model.add_task(Task("new", Classification(2)))
    assert more.task_names == ("mood", "score", "new")
    assert_same(predictions(more), before)
    assert predictions(more, ("new",))["new"].shape == (8, 2)
