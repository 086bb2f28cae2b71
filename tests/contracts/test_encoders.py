"""What every encoder keeps; a new encoder joins the table."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtl.data.tokenizers.tokenizer import Tokenizer
from mtl.encoders import KerasModel, Pretrained, Recurrent, Transformer
from tests.encoders.arithmetic import write_bert

# Keras writes its files from TensorFlow's variables, whose NumPy conversion is older than NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

WORDS = [f"w{i}" for i in range(25)]


def pretrained(tokenizer, folder, **options):
    write_bert(folder, words=WORDS if tokenizer else ())
    encoder = Pretrained(folder, **options)
    shutil.rmtree(folder)
    return encoder


def of_vocabulary(make, tokenizer, folder, **options):
    vocabulary = {} if tokenizer else {"vocabulary_size": 30}
    return make(Tokenizer.learn("word", [" ".join(WORDS)]) if tokenizer else None, **vocabulary, **options)


def convolution(tokenizer, **options):
    ids = keras.Input((None,), dtype="int32", name="token_ids")
    x = keras.layers.Embedding(tokenizer.vocabulary_size if tokenizer else options.pop("vocabulary_size"), 6)(ids)
    model = keras.Model(ids, keras.layers.Conv1D(8, 1, activation="tanh")(x))
    return KerasModel(model, tokenizer, **{"pooling": "mean", **{k: v for k, v in options.items() if k != "vocabulary_size"}})


lstm = partial(of_vocabulary, partial(Recurrent, embedding=6, units=4))
transformer = partial(of_vocabulary, partial(Transformer, width=8, layers=2, heads=2, max_length=20))
TABLE: dict[str, Callable[..., Any]] = {
    "lstm": lstm,
    "lstm, 2 layers, bigrams, skip": partial(lstm, layers=2, bigrams=7, skip=True, token_dropout=0.2),
    "lstm, one direction": partial(lstm, bidirectional=False, pooling="attention"),
    "gru": partial(lstm, cell="gru", pooling="mean"),
    "transformer": transformer,
    "transformer, pre-norm": partial(transformer, norm="pre", segments=0, dropout=0.0, pooling="cls"),
    "transformer, packed": partial(transformer, packed=True),
    "keras model": partial(of_vocabulary, convolution),
    "pretrained": pretrained,
    "pretrained, attention": partial(pretrained, pooling="attention"),
}
each = pytest.mark.parametrize("make", TABLE.values(), ids=TABLE)


def batch(encoder, padding=0):
    rng = np.random.default_rng(1)
    mask = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0]])
    x = {"token_ids": rng.integers(5, 30, mask.shape) * mask, "padding_mask": mask, "segment_ids": rng.integers(0, 2, mask.shape)}
    return {name: np.pad(x[name], [(0, 0), (0, padding)]).astype("int32") for name in encoder.input_names}


def numpy_pooling(mode, sequence, mask, layer):
    rows = [row[keep == 1].astype("float64") for row, keep in zip(sequence, mask, strict=True)]
    if mode == "attention":
        kernel, bias, context = (np.array(weight.numpy(), "float64") for weight in layer.weights)
        scores = [np.exp(np.tanh(row @ kernel + bias) @ context) for row in rows]
        return [(score * row).sum(0) / score.sum() for score, row in zip(scores, rows, strict=True)]
    return [{"cls": row[0], "mean": row.mean(0), "max": row.max(0)}[mode] for row in rows]


@each
def test_inputs_and_shapes_from_integers_alone(make, tmp_path):
    encoder = make(False, tmp_path / "hf")
    assert encoder.tokenizer is None
    assert {tensor.name: tensor.dtype for tensor in encoder.inputs} == dict.fromkeys(encoder.input_names, "int32")
    assert all(tensor.shape == (None, None) for tensor in encoder.inputs)
    features = encoder(batch(encoder))
    assert set(features) == {"sequence", "pooled"}
    assert features["sequence"].shape == (3, 6, encoder.width) and features["pooled"].shape == (3, encoder.width)


@each
def test_padding_changes_nothing(make, tmp_path):
    encoder = make(False, tmp_path / "hf")
    short, long = encoder(batch(encoder)), encoder(batch(encoder, padding=5))
    tokens = batch(encoder)["padding_mask"] == 1
    np.testing.assert_allclose(short["sequence"].numpy()[tokens], long["sequence"].numpy()[:, :6][tokens], atol=1e-5)
    np.testing.assert_allclose(short["pooled"], long["pooled"], atol=1e-5)


@each
def test_what_stands_at_padding_changes_nothing(make, tmp_path):
    encoder = make(False, tmp_path / "hf")
    x = batch(encoder)
    tokens = x["padding_mask"] == 1
    other = {**x, "token_ids": np.where(tokens, x["token_ids"], 29).astype("int32")}
    before, after = encoder(x), encoder(other)
    np.testing.assert_allclose(before["sequence"].numpy()[tokens], after["sequence"].numpy()[tokens], atol=1e-5)
    np.testing.assert_allclose(before["pooled"], after["pooled"], atol=1e-5)


@each
def test_rows_do_not_depend_on_one_another(make, tmp_path):
    encoder = make(False, tmp_path / "hf")
    x = batch(encoder)
    alone = encoder({name: value[1:2] for name, value in x.items()})
    np.testing.assert_allclose(alone["pooled"][0], encoder(x)["pooled"][1], atol=1e-5)


@each
def test_pooled_is_the_pooling_of_the_sequence(make, tmp_path):
    encoder = make(False, tmp_path / "hf")
    x = batch(encoder)
    features = encoder(x)
    expected = numpy_pooling(encoder.pooling, features["sequence"].numpy(), x["padding_mask"], encoder.get_layer("pooling"))
    np.testing.assert_allclose(features["pooled"], expected, atol=1e-5)


@each
def test_symbolic_call_and_one_trace_for_all_lengths(make, tmp_path):
    encoder = make(False, tmp_path / "hf")
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in encoder.input_names}
    model = keras.Model(inputs, encoder(inputs))
    x = batch(encoder)
    np.testing.assert_allclose(model(x)["pooled"], encoder(x)["pooled"], atol=1e-6)
    specs = {name: tf.TensorSpec((None, None), tf.int32) for name in encoder.input_names}
    in_graph = tf.function(encoder, input_signature=[specs])
    for padding in (0, 3):
        np.testing.assert_allclose(in_graph(batch(encoder, padding))["pooled"], encoder(x)["pooled"], atol=1e-5)


@each
def test_gradients_reach_every_weight(make, tmp_path):
    encoder = make(False, tmp_path / "hf")
    rng = np.random.default_rng(0)
    for weight in encoder.trainable_variables:
        weight.assign(rng.normal(size=weight.shape))
    with tf.GradientTape() as tape:
        features = encoder(batch(encoder), training=True)
        loss = sum(tf.reduce_sum(value * rng.normal(size=value.shape).astype("float32")) for value in features.values())
    gradients = tape.gradient(loss, [weight.value for weight in encoder.trainable_variables])
    for weight, gradient in zip(encoder.trainable_variables, gradients, strict=True):
        assert gradient is not None, weight.path
        # A bias of the keys moves all scores of a query alike, and so nothing.
        assert weight.path.endswith("key/bias") or tf.reduce_max(abs(tf.convert_to_tensor(gradient))) > 0, weight.path


@each
def test_mixed_bfloat16(make, tmp_path):
    exact = make(False, tmp_path / "hf")
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        encoder = make(False, tmp_path / "hf")
    finally:
        keras.config.set_dtype_policy("float32")
    encoder.set_weights(exact.get_weights())
    again = type(encoder).from_config(encoder.get_config())
    again.set_weights(exact.get_weights())
    x = batch(exact)
    tokens = x["padding_mask"] == 1
    for mixed in (encoder, again):
        assert mixed.weights[0].dtype == "float32"
        sequence = mixed(x)["sequence"]
        assert sequence.dtype == tf.bfloat16
        difference = tf.cast(sequence, tf.float32).numpy()[tokens] - exact(x)["sequence"].numpy()[tokens]
        assert np.sqrt((difference**2).mean()) < 0.05


@each
def test_the_config_rebuilds_the_encoder(make, tmp_path):
    encoder = make(True, tmp_path / "hf")
    config = encoder.get_config()
    again = type(encoder).from_config(config)
    assert again.get_config() == config
    again.set_weights(encoder.get_weights())
    x = batch(encoder)
    np.testing.assert_allclose(again(x)["sequence"], encoder(x)["sequence"], atol=1e-6)
    assert again.tokenizer == encoder.tokenizer and again.max_length == encoder.max_length


@each
def test_the_token_embedding_and_the_blocks_can_be_frozen(make, tmp_path):
    encoder = make(False, tmp_path / "hf")
    assert encoder.token_embedding.embeddings.shape[0] == 30
    for layer in encoder.blocks[0]:
        layer.trainable = False
    frozen = {id(weight) for weight in encoder.non_trainable_variables}
    assert id(encoder.token_embedding.embeddings) in frozen
    assert all(weight.trainable for layer in encoder.blocks[-1] for weight in layer.weights)
    in_blocks = [id(weight) for block in encoder.blocks for layer in block for weight in layer.weights]
    pooling = [id(weight) for weight in encoder.get_layer("pooling").weights]
    assert sorted(in_blocks + pooling) == sorted(id(weight) for weight in encoder.weights)


LOAD = """
import sys
import keras, numpy as np
import mtl.encoders
folder, count = sys.argv[1], int(sys.argv[2])
for i in range(count):
    encoder = keras.saving.load_model(f"{folder}/{i}.keras")
    saved = np.load(f"{folder}/{i}.npz")
    features = encoder({name: saved[name] for name in encoder.input_names})
    tokens = encoder.tokenizer.encode(["w3 w7"])[0].token_ids
    np.savez(f"{folder}/{i}.loaded.npz", sequence=features["sequence"], pooled=features["pooled"], tokens=tokens)
"""


@pytest.fixture(scope="module")
def saved_and_loaded(tmp_path_factory):
    """Each encoder saved here, and loaded by another process, after its folder is gone."""
    folder = tmp_path_factory.mktemp("encoders")
    for i, make in enumerate(TABLE.values()):
        encoder = make(True, folder / "hf")
        x = batch(encoder)
        tokens = encoder.tokenizer.encode(["w3 w7"])[0].token_ids
        np.savez(folder / f"{i}.npz", **x, **{name: value.numpy() for name, value in encoder(x).items()}, tokens=tokens)
        encoder.save(folder / f"{i}.keras")
    subprocess.run([sys.executable, "-c", LOAD, str(folder), str(len(TABLE))], check=True)
    return folder


@pytest.mark.parametrize("name", TABLE)
def test_a_fresh_process_loads_the_same_encoder(saved_and_loaded, name):
    i = list(TABLE).index(name)
    saved, loaded = np.load(saved_and_loaded / f"{i}.npz"), np.load(saved_and_loaded / f"{i}.loaded.npz")
    for part in ("sequence", "pooled", "tokens"):
        np.testing.assert_allclose(loaded[part], saved[part], atol=1e-6)
