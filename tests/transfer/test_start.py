import json
import zipfile

import keras
import numpy as np
import pytest

from mtl import MultiTaskModel, Task
from mtl.data import Tokenizer
from mtl.encoders import Recurrent
from mtl.heads import Classification
from mtl.sharing import Soft
from mtl.transfer import freeze, load_encoder
from tests.transfer.stack import X, make_model

INPUTS = {"token_ids": X["token_ids"], "padding_mask": np.ones_like(X["token_ids"])}


def outputs(encoder):
    return encoder(INPUTS, training=False)["pooled"].numpy()


def test_weights_tokenizer_and_what_is_frozen(tmp_path):
    encoder = Recurrent(Tokenizer.learn("word", ["so good", "so bad"]), embedding=4, units=4)
    model = MultiTaskModel(encoder, Task("mood", Classification(["bad", "good"])))
    freeze(model, 1)
    model.compile("adam")
    model.save(tmp_path / "model.keras")
    inputs = {"token_ids": np.array([[2, 3, 1]]), "padding_mask": np.ones((1, 3), "int32")}
    loaded = load_encoder(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(inputs)["sequence"].numpy(), encoder(inputs)["sequence"].numpy())
    assert loaded.tokenizer.vocabulary() == encoder.tokenizer.vocabulary()
    assert not loaded.token_embedding.trainable and loaded.name == encoder.name
    again = MultiTaskModel(loaded, Task("topic", Classification(["a", "b", "c"])))
    assert again.predict_text(["so good"])["topic"][0]["label"] in "abc"


def test_the_encoder_of_a_task(tmp_path):
    model = make_model(Soft(0.1))
    for i, task in enumerate("ab"):
        encoder = model.sharing.encoder_of(task)
        encoder.set_weights([weight + i for weight in encoder.get_weights()])
    path = tmp_path / "model.keras"
    model.save(path)
    for task in "ab":
        np.testing.assert_array_equal(outputs(load_encoder(path, task)), outputs(model.sharing.encoder_of(task)))
    assert not np.allclose(outputs(load_encoder(path, "a")), outputs(load_encoder(path, "b")))
    with pytest.raises(ValueError, match="holds weights of the encoder per task. Say whose is wanted: task='a'"):
        load_encoder(path)
    with pytest.raises(ValueError, match="Unknown task of .*'c'. Known: a, b"):
        load_encoder(path, "c")


def test_an_encoder_saved_alone(tmp_path):
    encoder = make_model().encoder
    encoder.save(tmp_path / "encoder.keras")
    np.testing.assert_array_equal(outputs(load_encoder(tmp_path / "encoder.keras")), outputs(encoder))
    with pytest.raises(ValueError, match="holds an encoder and no tasks; got task='a'"):
        load_encoder(tmp_path / "encoder.keras", "a")


def test_what_is_not_there_or_something_else(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.keras"):
        load_encoder(tmp_path / "none.keras")
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(tmp_path / "other.keras")
    with pytest.raises(ValueError, match="Expected a MultiTaskModel or an encoder in '.*'; it holds a Sequential"):
        load_encoder(tmp_path / "other.keras")


def rewrite(path, target, change):
    """A copy of a .keras file with another configuration."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, json.dumps(change(json.loads(data))) if name == "config.json" else data)
    return target


def test_no_code_of_the_file_runs(tmp_path):
    keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x * 2)]).save(tmp_path / "lambda.keras")
    with pytest.raises(ValueError, match="[Ll]ambda"):
        load_encoder(tmp_path / "lambda.keras")

    make_model().save(tmp_path / "model.keras")
    victim = tmp_path / "ran"

    def with_a_call(config):
        call = {"module": "pathlib", "class_name": "Path.touch", "config": str(victim), "registered_name": None}
        config["config"]["encoder"] = call
        return config

    with pytest.raises((TypeError, ValueError)):
        load_encoder(rewrite(tmp_path / "model.keras", tmp_path / "bad.keras", with_a_call))
    assert not victim.exists()
    with zipfile.ZipFile(tmp_path / "lambda.keras") as file:
        layer = json.loads(file.read("config.json"))["config"]["layers"][1]

    def with_a_lambda(config):
        config["config"]["encoder"] = layer
        return config

    with pytest.raises(ValueError, match="[Ll]ambda"):
        load_encoder(rewrite(tmp_path / "model.keras", tmp_path / "bad.keras", with_a_lambda))
