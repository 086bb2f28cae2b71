import keras

from mtl.sharing import Hard, Part
from tests.tiny import Bag


def test_all_tasks_get_the_features_of_one_encoder():
    encoder = Bag()
    sharing = Hard().bind(encoder, ["a", "b"])
    x = {"token_ids": keras.ops.ones((2, 3), "int32"), "padding_mask": keras.ops.ones((2, 3), "int32")}
    features = sharing.features(x, ["a", "b"])
    assert features["a"]["sequence"] is features["b"]["sequence"]
    assert sorted(features["a"]) == ["padding_mask", "pooled", "sequence", "token_ids"]
    assert sharing.encoder_of("a") is sharing.encoder_of("b") is encoder
    assert sharing.parts() == {"trunk": Part(encoder, ("a", "b"))} and sharing.penalties() == []
