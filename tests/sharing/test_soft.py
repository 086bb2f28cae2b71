import keras
import numpy as np
import pytest

from mtl.sharing import Part, Soft
from tests.tiny import Bag


def penalty(sharing):
    (bound,) = [given.bind(sharing.parts()) for given in sharing.penalties()]
    return bound.value()


def test_each_task_has_an_encoder():
    encoder = Bag()
    sharing = Soft().bind(encoder, ["a", "b", "c"])
    encoders = [sharing.encoder_of(task) for task in "abc"]
    assert encoders[0] is encoder and len({id(each) for each in encoders}) == 3
    assert sharing.parts()["encoder/b"] == Part(encoders[1], ("b",))


def test_the_penalty_is_the_squared_distance_of_all_pairs_over_their_number():
    sharing = Soft(0.5).bind(Bag(4, 2), ["a", "b", "c"])
    weights = [np.random.default_rng(i).normal(size=(4, 2)).astype("float32") for i in range(3)]
    for task, weight in zip("abc", weights, strict=True):
        sharing.encoder_of(task).set_weights([weight])
    pairs = sum(((weights[i] - weights[j]) ** 2).sum() for i, j in [(0, 1), (0, 2), (1, 2)])
    assert float(penalty(sharing)) == pytest.approx(0.5 * pairs / 3, rel=1e-5)


def test_connecting_again_keeps_the_encoders():
    first = Soft().bind(Bag(), ["a", "b"])
    again = first.bind(first.encoder_of("a"), ["a", "b", "c"])
    assert again.encoder_of("b") is first.encoder_of("b")
    assert again.encoder_of("c") not in (first.encoder_of("a"), first.encoder_of("b"))


def test_no_tie_no_penalty_and_bad_strength():
    assert Soft(0.0).bind(Bag(), ["a", "b"]).penalties() == []
    assert float(penalty(Soft(1.0).bind(Bag(), ["a"]))) == 0.0
    with pytest.raises(ValueError, match="strength of at least 0; got -1"):
        Soft(-1)
    assert keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(Soft(0.2))).strength == 0.2


def test_an_encoder_that_is_frozen_still_draws_the_others():
    sharing = Soft(0.5).bind(Bag(4, 2), ["a", "b"])
    weights = [np.random.default_rng(i).normal(size=(4, 2)).astype("float32") for i in range(2)]
    for task, weight in zip("ab", weights, strict=True):
        sharing.encoder_of(task).set_weights([weight])
    sharing.encoder_of("b").trainable = False
    assert float(penalty(sharing)) == pytest.approx(0.25 * ((weights[0] - weights[1]) ** 2).sum(), rel=1e-5)
    sharing.encoder_of("a").trainable = False
    assert float(penalty(sharing)) == 0.0
