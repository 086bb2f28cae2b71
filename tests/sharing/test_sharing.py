import keras
import numpy as np

from mtl import MultiTaskModel, Task
from mtl.heads import Classification
from mtl.sharing import Hard, Part, Sharing
from tests.tiny import Bag


class Scaled(Sharing):
    def __init__(self, factor=2.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def branch(self, task, shared, training=None):
        return {**shared, "pooled": self.factor * shared["pooled"]}


def test_the_base_shares_one_encoder():
    encoder = Bag()
    sharing = Sharing().bind(encoder, ["a", "b"])
    x = {"token_ids": np.array([[3, 4]], "int32"), "padding_mask": np.array([[1, 1]], "int32")}
    features = sharing.features(x, ["b"])["b"]
    np.testing.assert_array_equal(features["pooled"], encoder(x)["pooled"])
    assert features["token_ids"] is x["token_ids"]
    assert {name: (part.layer, part.tasks) for name, part in sharing.parts().items()} == {"trunk": (encoder, ("a", "b"))}
    assert sharing.encoder_of("a") is encoder and sharing.stacks() == [encoder] and not sharing.penalties()


def test_the_arguments_of_a_way_of_ones_own_are_kept():
    encoder, described = Bag(), Scaled(3.0)
    bound = described.bind(encoder, ["a"])
    assert bound is not described and bound.factor == 3.0 and bound.get_config() == {"factor": 3.0}
    x = {"token_ids": np.array([[3, 4]], "int32"), "padding_mask": np.array([[1, 1]], "int32")}
    np.testing.assert_allclose(bound.features(x, ["a"])["a"]["pooled"], 3.0 * encoder(x)["pooled"])


class Overlapping(Hard):
    """Names the encoder's layers as two parts, one for each pair of tasks."""

    def parts(self):
        return {name: Part(self.encoder, tasks) for name, tasks in {"left": ("a", "b"), "right": ("b", "c")}.items()}


def test_a_layer_in_several_parts_stays_only_while_all_of_their_tasks_are_absent():
    tasks = [Task(name, Classification(2, dropout=0.0)) for name in "abcd"]
    model = MultiTaskModel(Bag(), tasks, Overlapping())
    model.compile(keras.optimizers.SGD(0.5, momentum=0.9))
    x = {"token_ids": np.ones((4, 3), "int32")}
    y = {name: np.zeros(4, "int32") for name in "abcd"}

    def moves(*active):
        before = model.encoder.get_weights()[0]
        model.train_on_batch(x, y, {name: np.full(4, float(name in active), "float32") for name in y})
        return bool((before != model.encoder.get_weights()[0]).any())

    assert [moves(name) for name in "abcd"] == [True, True, True, False]
