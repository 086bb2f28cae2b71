import numpy as np

from mtl.sharing import Sharing
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
