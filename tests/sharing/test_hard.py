import keras
import numpy as np
import pytest

from mtl import MultiTaskModel, Task
from mtl.heads import Classification
from mtl.penalties import L2SP, TowardsMean
from mtl.sharing import Hard, Part
from mtl.training.task_variables import slots_of
from tests.tiny import Bag

# Keras writes its files from TensorFlow's variables, whose NumPy conversion is older than NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


def test_all_tasks_get_the_features_of_one_encoder():
    encoder = Bag()
    sharing = Hard().bind(encoder, ["a", "b"])
    x = {"token_ids": keras.ops.ones((2, 3), "int32"), "padding_mask": keras.ops.ones((2, 3), "int32")}
    features = sharing.features(x, ["a", "b"])
    assert features["a"]["sequence"] is features["b"]["sequence"]
    assert sorted(features["a"]) == ["padding_mask", "pooled", "sequence", "token_ids"]
    assert sharing.encoder_of("a") is sharing.encoder_of("b") is encoder
    assert sharing.parts() == {"trunk": Part(encoder, ("a", "b"))} and sharing.penalties() == []


def tree_of_tasks(optimizer=None, penalties=(), groups=None):
    keras.utils.set_random_seed(0)
    tasks = [Task(name, Classification(2, dropout=0.0)) for name in ("ner", "pos", "topic")]
    sharing = Hard(top_layers=1, groups=groups or {"tags": ["ner", "pos"]})
    model = MultiTaskModel(Bag(top=True), tasks, sharing, penalties=penalties)
    model.compile(optimizer or keras.optimizers.SGD(0.1))
    return model


def train(model, *tasks, steps=2):
    """Steps on rows that are labelled for some tasks."""
    rng = np.random.default_rng(0)
    for _ in range(steps):
        x = {"token_ids": rng.integers(1, 20, (8, 5)).astype("int32")}
        y = {name: rng.integers(0, 2, 8).astype("int32") for name in model.task_names}
        model.train_on_batch(x, y, {name: np.full(8, float(name in tasks), "float32") for name in y})


def weights_of(model, part):
    return [weight.numpy() for weight in model.parts()[part].layer.weights]


@pytest.mark.parametrize(
    "make",
    [
        lambda: keras.optimizers.AdamW(0.05, weight_decay=0.1),
        lambda: keras.optimizers.SGD(0.05, momentum=0.9),
        lambda: keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True, use_ema=True),
    ],
    ids=["adamw", "momentum", "average"],
)
def test_a_shared_top_stays_while_all_of_its_tasks_are_absent(make):
    model = tree_of_tasks(make(), [TowardsMean(0.1, "top/*")])
    train(model, "ner", "pos", "topic")
    before, slots = weights_of(model, "top/tags"), slots_of(model.optimizer, model.parts()["top/tags"].layer.weights)
    held, other = [slot.numpy() for slot in slots], weights_of(model, "top/topic")
    train(model, "topic")
    for old, now in zip(before + held, weights_of(model, "top/tags") + [slot.numpy() for slot in slots], strict=True):
        np.testing.assert_array_equal(old, now)
    assert slots and all((old != now).any() for old, now in zip(other, weights_of(model, "top/topic"), strict=True))
    train(model, "pos")  # One of the two is enough.
    assert all((old != now).any() for old, now in zip(before, weights_of(model, "top/tags"), strict=True))


def test_groups_name_tasks_of_the_model_and_not_one_another():
    with pytest.raises(ValueError, match=r"task of Hard's group 'tags'.*'poss'"):
        tree_of_tasks(groups={"tags": ["ner", "poss"]})
    with pytest.raises(ValueError, match="a group and a task outside it to have different names; got 'topic' for both"):
        tree_of_tasks(groups={"topic": ["ner", "pos"]})
    with pytest.raises(ValueError, match="different names; got 'tags' for both"):
        tree_of_tasks().add_task(Task("tags", Classification(2)))
    refused: list[dict[str, list[str]]] = [{"tags": []}, {"a/b": ["ner"]}]
    for groups in refused:
        with pytest.raises(ValueError, match="Hard expects groups of at least one task, and names without '/'"):
            Hard(1, groups)


def test_a_subset_of_a_tree_keeps_the_groups_of_its_tasks(tmp_path):
    model = tree_of_tasks()
    train(model, "ner", "pos", "topic")
    part = model.subset(["pos", "topic"])
    assert part.sharing.get_config() == {"top_layers": 1, "groups": {"tags": ["pos"]}}
    part.save(tmp_path / "part.keras")
    for other in (part, keras.saving.load_model(tmp_path / "part.keras"), part.add_task(Task("new", Classification(2)))):
        for old, now in zip(weights_of(model, "top/tags"), weights_of(other, "top/tags"), strict=True):
            np.testing.assert_array_equal(old, now)
    assert model.subset(["topic"]).sharing.get_config() == {"top_layers": 1}


def test_a_subset_has_the_penalties_that_are_about_its_parts(tmp_path):
    given = [TowardsMean(0.1, ["top/tags"]), L2SP(0.1, parts="top/topic"), L2SP(0.2, parts="head/ner"), L2SP(0.3)]
    model = tree_of_tasks(penalties=given)
    train(model, "ner", "pos", "topic")
    part = model.subset(["topic"])
    assert [penalty.alpha for penalty in part.penalties] == [0.1, 0.3]
    for penalty, kept in zip((model.penalties[1], model.penalties[3]), part.penalties, strict=True):
        for start in kept.starts:
            for old, now in zip(penalty.starts[start], kept.starts[start], strict=True):
                np.testing.assert_array_equal(old, now)
    part.save(tmp_path / "part.keras")
    again = keras.saving.load_model(tmp_path / "part.keras")
    assert float(again.penalty()) == pytest.approx(float(part.penalty())) and float(part.penalty()) > 0
