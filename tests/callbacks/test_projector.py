import json

import numpy as np
import pytest
import tensorflow as tf

from mtl import MultiTaskModel, Task
from mtl.callbacks.projector import pooled_features, write_projector
from mtl.data import Tokenizer
from mtl.data.example import Example
from mtl.heads import Classification
from mtl.sharing import Soft
from tests.tiny import Bag


@pytest.mark.parametrize("below", ["", "runs/first"])
def test_the_projector_loads_what_was_written(tmp_path, tensorboard, below):
    folder = tmp_path / below / "validation"
    with tf.summary.create_file_writer(str(folder)).as_default(0):
        tf.summary.scalar("loss", 1.0)
    vectors = np.array([[0.5, -1.0, 3.0], [1e-9, 2.0, 4.0]], "float32")
    write_projector(folder, {"pooled": vectors, "other": 2 * vectors}, {"text": ["一\n行", "\t"], "mood": ["up", ""]})
    get = tensorboard(tmp_path)
    run = "validation" if not below else f"{below}/validation"
    assert get("projector/runs").json == [run]
    info = json.loads(get("projector/info", run=run).data)["embeddings"]
    assert {each["tensorName"]: each["tensorShape"] for each in info} == {"pooled": [2, 3], "other": [2, 3]}
    tensor = np.frombuffer(get("projector/tensor", run=run, name="other").data, "float32").reshape(2, 3)
    np.testing.assert_allclose(tensor, 2 * vectors, rtol=1e-5)
    assert get("projector/metadata", run=run, name="pooled").text == "text\tmood\n一 行\tup\n(empty)\t\n"


def test_a_single_column_has_no_header(tmp_path):
    write_projector(tmp_path, {"pooled": np.zeros((2, 2))}, {"text": ["a", "b"]})
    assert (tmp_path / "projector/metadata.tsv").read_text() == "a\nb\n"


@pytest.mark.parametrize("sharing", [None, Soft()])
def test_pooled_features_by_hand(sharing):
    tokenizer = Tokenizer.learn("character", ["abc"])
    model = MultiTaskModel(Bag(tokenizer=tokenizer), [Task("a", Classification(2)), Task("b", Classification(2))], sharing)
    second = model.sharing.encoder_of("b")
    second.embedding.set_weights([second.embedding.get_weights()[0] * (1 if sharing is None else 3)])
    texts = ["abca", "b", "cc"]
    found = pooled_features(model, [Example(text) for text in texts], batch_size=2)
    assert sorted(found) == (["pooled"] if sharing is None else ["pooled_a", "pooled_b"])
    table = model.sharing.encoder_of("a").embedding.get_weights()[0]
    ids = [encoding.token_ids for encoding in tokenizer.encode(texts)]
    expected = np.stack([table[each].mean(axis=0) for each in ids])
    for name, factor in zip(sorted(found), (1, 3), strict=False):
        np.testing.assert_allclose(found[name], factor * expected, rtol=1e-5, atol=1e-7)
