"""What a model says of what it cannot take."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtl import MultiTaskModel, Task
from mtl.data import Tokenizer, records
from mtl.encoders import Recurrent
from mtl.heads import Classification


@pytest.fixture(scope="module")
def trained() -> MultiTaskModel:
    encoder = Recurrent(Tokenizer.learn("word", ["so good", "so bad"]), embedding=4, units=4)
    model = MultiTaskModel(encoder, Task("mood", Classification(["bad", "good"])))
    model.compile("sgd")
    return model


def test_texts_where_numbers_are_due(trained):
    model = trained
    ids, labels = np.ones((2, 3), "int32"), {"mood": np.array(["good", "bad"])}
    for use in (lambda: model.predict(np.array(["a"])), lambda: model(["a"]), lambda: model.evaluate(np.array(["a"]), ids)):
        with pytest.raises(TypeError, match="expects token ids as inputs; got texts. Use predict_text"):
            use()
    for use in (
        lambda: model.fit(ids, labels),
        lambda: model.evaluate(ids, labels),
        lambda: model.fit(ids, {"mood": np.array([0, 1])}, validation_data=(ids, labels)),
        lambda: model.train_on_batch(ids, {"mood": tf.constant(["good", "bad"])}),
    ):
        with pytest.raises(TypeError, match="expects numbers as targets; got texts. Use mtl.data.mix"):
            use()


def test_a_report_of_nothing_is_an_error(tmp_path):
    rows = records({"test": [{"text": "a", "mood": None}]}, label="mood")
    encoder = Recurrent(Tokenizer.learn("word", ["a"]), embedding=4, units=4)
    model = MultiTaskModel(encoder, [Task("mood", Classification(2), rows), Task("other", Classification(2))])
    with pytest.raises(ValueError, match=r"No example of the split 'test' is labelled for the tasks \['mood', 'other'\]"):
        model.report("test")
    with pytest.raises(ValueError, match="expects tasks with sources; got 'other' without one"):
        model.report("test", "other")
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    with pytest.raises(ValueError, match=r"got 'mood' without one, .* Give sources={'mood': mtl.data.csv\(...\)}"):
        loaded.report("test")
    again = records({"test": [{"text": "a", "mood": 1}]}, label="mood")
    assert loaded.report("test", sources={"mood": again})["mood"]["examples"] == 1


def test_keras_cannot_clone_it_and_says_what_can(trained):
    model = trained
    with pytest.raises(TypeError, match=r"clone_model cannot take a MultiTaskModel apart .* model.subset\(model.task_names\)"):
        keras.models.clone_model(model)
    assert model.subset(model.task_names).predict_text("so good") == model.predict_text("so good")


def test_what_is_no_encoder():
    with pytest.raises(TypeError, match="expects `encoder` as a mtl.encoders.Encoder; got a Sequential"):
        MultiTaskModel(keras.Sequential(), Task("mood", Classification(2)))
