import keras
import pytest

from mtl import MultiTaskModel, Task
from mtl.data import Tokenizer
from mtl.encoders import Recurrent, Transformer
from mtl.heads import Classification, MaskedLM, Tagging
from mtl.sharing import Soft
from mtl.training.gradients.dependencies import dependencies_of
from tests.tiny import Bag
from tests.two_tasks import make_model


def names(model):
    return {task: {variable.path for variable in variables} for task, variables in dependencies_of(model).variables.items()}


def test_each_task_reaches_its_head_and_what_its_features_are_made_of():
    encoder = Recurrent(vocabulary_size=20, embedding=4, units=3, pooling="attention")
    found = names(MultiTaskModel(encoder, [Task("mood", Classification(3)), Task("tags", Tagging(2))]))
    both = {v.path for v in encoder.weights if not v.path.startswith("pooling")}
    assert found["mood"] & found["tags"] == both
    assert {path for path in found["mood"] - both if not path.startswith("mood")} == {
        v.path for v in encoder.get_layer("pooling").weights
    }
    assert all(path.startswith("tags") for path in found["tags"] - both)


class Apart(Tagging):
    """A head that the encoder learns nothing from."""

    def call(self, features, training=None):
        return super().call({**features, "sequence": keras.ops.stop_gradient(features["sequence"])}, training=training)


def test_nothing_is_reached_where_no_gradient_comes_through():
    encoder = Recurrent(vocabulary_size=20, embedding=4, units=3)
    found = names(MultiTaskModel(encoder, [Task("mood", Classification(3)), Task("tags", Apart(2))]))
    assert found["tags"] and all(path.startswith("tags") for path in found["tags"])
    assert {v.path for v in encoder.weights} <= found["mood"]


def test_frozen_weights_are_reached_too():
    model = make_model("sgd")
    before = names(model)
    model.encoder.trainable = False
    assert names(model) == before


def test_encoders_of_their_own_are_reached_by_one_task():
    found = dependencies_of(make_model("sgd", sharing=Soft(0.1))).variables
    assert not {id(v) for v in found["mood"]} & {id(v) for v in found["score"]} and len(found["mood"]) == len(found["score"]) == 3


def test_what_stands_behind_the_trunk():
    hard, soft = (dependencies_of(make_model("sgd", sharing=sharing)) for sharing in (None, Soft(0.1)))
    assert soft.trunk == []
    assert {v.path for v in hard.trunk} == {v.path for v in hard.variables["mood"]} & {v.path for v in hard.variables["score"]}


def test_a_head_reaches_all_its_weights_whatever_its_output_shows():
    encoder = Recurrent(Tokenizer.learn("character", ["abc"]), embedding=4, units=3)
    model = MultiTaskModel(encoder, [Task("hidden", MaskedLM()), Task("mood", Classification(3))])
    assert {v.path for v in model.heads["hidden"].weights} <= names(model)["hidden"]


def looked_up(encoder):
    tasks = [Task("mood", Classification(3)), Task("tags", Tagging(2))]
    return [v.path.split("/")[0] for v in dependencies_of(MultiTaskModel(encoder, tasks)).lookup_tables]


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_tables_that_are_only_looked_up(policy):
    keras.mixed_precision.set_global_policy(policy)
    try:
        transformer = Transformer(vocabulary_size=20, width=4, layers=1, heads=2, feedforward=8, max_length=9, segments=2)
        assert looked_up(transformer) == ["token_embedding", "position_embedding", "segment_embedding"]
        assert looked_up(Recurrent(vocabulary_size=20, embedding=4, units=3)) == ["token_embedding"]
    finally:
        keras.mixed_precision.set_global_policy("float32")


class Scaled(keras.layers.Embedding):
    """An embedding whose values are more than looked up."""

    def call(self, inputs):
        return super().call(inputs) * keras.ops.mean(self.embeddings)


class Columns(keras.layers.Embedding):
    """An embedding of which columns are looked up."""

    def call(self, inputs):
        return super().call(inputs) + keras.ops.sum(keras.ops.take(self.embeddings, inputs % 6, axis=1)[0], axis=-1)[..., None]


@pytest.mark.parametrize("layer, expected", [(keras.layers.Embedding, ["embedding"]), (Scaled, []), (Columns, [])])
def test_a_table_with_another_use_is_not_only_looked_up(layer, expected, monkeypatch):
    monkeypatch.setattr(keras.layers, "Embedding", layer)
    assert looked_up(Bag()) == expected
