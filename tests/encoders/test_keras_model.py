import keras
import numpy as np
import pytest

import mtl
from mtl.encoders import KerasModel

# Keras writes its files from TensorFlow's variables, whose NumPy conversion is older than NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


def network(blocks=2, **names):
    ids = keras.Input((None,), dtype="int32", name=names.get("ids", "token_ids"))
    x = keras.layers.Embedding(20, 6, name="embedding")(ids)
    for i in range(blocks):
        x = keras.layers.Conv1D(6, 3, padding="same", activation="tanh", name=f"block_{i}")(x)
    return keras.Model(ids, x)


X = {
    "token_ids": np.array([[3, 4, 5, 0], [6, 0, 0, 0]], "int32"),
    "padding_mask": np.array([[1, 1, 1, 0], [1, 0, 0, 0]], "int32"),
}


def test_it_gives_what_the_model_gives():
    model = network()
    features = KerasModel(model, pooling="mean")(X)
    sequence = np.asarray(model(X["token_ids"]))
    np.testing.assert_allclose(features["sequence"], sequence, atol=1e-6)
    np.testing.assert_allclose(features["pooled"], [sequence[0, :3].mean(0), sequence[1, 0]], atol=1e-6)


def test_layers_with_weights_are_blocks_and_states():
    encoder = KerasModel(network())
    assert [[layer.name for layer in block] for block in encoder.blocks] == [["embedding"], ["block_0"], ["block_1"]]
    assert len(encoder.states) == 3 and encoder.token_embedding.name == "embedding"
    assert len(encoder.weights) == 5 and len({id(weight) for weight in encoder.weights}) == 5
    mtl.transfer.freeze(encoder, 1)
    assert [layer.name for layer in encoder.layers if layer.weights and not layer.trainable] == ["embedding"]
    assert encoder.copy("other").get_config()["frozen"] == ["embedding"]


def test_tasks_take_its_states_and_its_top(tmp_path):
    tasks = [mtl.Task("a", mtl.heads.Classification(2)), mtl.Task("b", mtl.heads.Classification(3), readout="scalar_mix")]
    mixed = mtl.MultiTaskModel(KerasModel(network()), tasks)
    tasks = [mtl.Task("a", mtl.heads.Classification(2)), mtl.Task("b", mtl.heads.Classification(3))]
    cut = mtl.MultiTaskModel(KerasModel(network()), tasks, sharing=mtl.sharing.Hard(top_layers=1))
    for model in (mixed, cut):
        model.compile("adam")
        model.fit(X, {"a": np.array([0, 1]), "b": np.array([2, 0])}, epochs=2, verbose=0)
        model.save(tmp_path / "m.keras")
        again = keras.saving.load_model(tmp_path / "m.keras")
        for one, other in zip(*(each.predict(X, verbose=0).values() for each in (model, again)), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: network(ids="ids"), r"named like \['token_ids', .*; got \['ids'\]. Name them"),
        (lambda: keras.Sequential([keras.layers.Embedding(20, 6)]), "got none. Name them"),
        (lambda: keras.Model((made := network()).inputs, keras.ops.max(made.output, 1)), r"gives \[B, S, H\]; got \(None, 6\)"),
        (lambda: keras.Model((made := network()).inputs, {"x": made.output}), r"gives \[B, S, H\]; got dict"),
    ],
)
def test_models_that_are_none(make, message):
    with pytest.raises(ValueError, match=message):
        KerasModel(make())


def test_a_configuration_that_runs_code():
    config = KerasModel(network()).get_config()
    config["model"]["config"]["layers"][1] = {"class_name": "Lambda", "module": "keras.layers", "config": {}}
    with pytest.raises(ValueError, match="a 'Lambda', which runs code"):
        KerasModel.from_config(config)
    with pytest.raises(ValueError, match="expects"):
        KerasModel.from_config({**KerasModel(network()).get_config(), "model": None})
