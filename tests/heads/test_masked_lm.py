from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtl.data.encoding import Encoding
from mtl.data.example import Example
from mtl.heads import MaskedLM

VOCABULARY, WIDTH, HIDDEN = 12, 4, 6


def make_encoder(**tokenizer):
    embedding = keras.layers.Embedding(VOCABULARY, WIDTH)
    embedding.build()
    tokenizer = {"mask_id": 2, "special_ids": (0, 1, 2), "vocabulary_size": VOCABULARY, **tokenizer}
    return SimpleNamespace(token_embedding=embedding, tokenizer=SimpleNamespace(**tokenizer))


def make_head(**options):
    head = MaskedLM(**options)
    encoder = make_encoder()
    head.attach(encoder)
    return head, encoder.token_embedding


def batch(rows=3, length=7, seed=0):
    rng = np.random.default_rng(seed)
    features = {"sequence": rng.normal(size=(rows, length, HIDDEN)).astype("float32")}
    return features, rng.integers(3, VOCABULARY, (rows, length)), (rng.random((rows, length)) < 0.4).astype("float32")


def encoding(offsets, text, pair=None, segments=None):
    segments = np.zeros(len(offsets), "int32") if segments is None else np.array(segments, "int32")
    return Encoding(np.arange(len(offsets), dtype="int32") + 3, segments, np.array(offsets, "int32"), text, pair)


def test_words_are_those_of_the_text():
    tokens = encoding([(-1, -1), (0, 2), (2, 4), (5, 7), (7, 8), (-1, -1)], "abcd ef.")
    words, weight = MaskedLM().encode(True, Example("abcd ef."), tokens)
    assert weight.tolist() == [0, 1, 1, 1, 1, 0]
    assert words[1:5].tolist() == [0, 0, 1, 2]
    words, weight = MaskedLM(whole_words=False).encode(True, Example("abcd ef."), tokens)
    assert weight.tolist() == [0, 1, 1, 1, 1, 0]
    assert len(set(words[1:5])) == 4


def test_chinese_words_are_those_of_the_example():
    tokens = encoding([(-1, -1), (0, 1), (1, 2), (2, 3), (3, 4)], "我爱北京")
    assert MaskedLM().encode(True, Example("我爱北京"), tokens)[0][1:].tolist() == [0, 1, 2, 3]
    split = Example("我爱北京", words=((0, 1), (1, 2), (2, 4)))
    assert MaskedLM().encode(True, split, tokens)[0][1:].tolist() == [0, 1, 2, 2]


def test_both_texts_of_a_pair_are_masked():
    tokens = encoding([(-1, -1), (0, 1), (2, 3), (-1, -1), (0, 1), (1, 2), (-1, -1)], "a b", "cd", [0, 0, 0, 0, 1, 1, 1])
    words, weight = MaskedLM().encode(True, Example("a b", "cd"), tokens)
    assert weight.tolist() == [0, 1, 1, 0, 1, 1, 0]
    assert words[[1, 2, 4, 5]].tolist() == [0, 1, 2, 2]


def test_prepares_only_its_own_rows():
    head, _ = make_head(rate=0.5, keep=0.0, random=0.0)
    rng = np.random.default_rng(0)
    ids = rng.integers(3, VOCABULARY, (200, 10)).astype("int32")
    x = {"token_ids": ids.copy(), "padding_mask": np.ones((200, 10), "int32")}
    target, weight = np.tile(np.arange(10, dtype="int32") // 2, (200, 1)), np.ones((200, 10), "float32")
    weight[:, 0] = 0  # A special token.
    weight[::2], target[::2] = 0, 0
    head.prepare_batch(x, target, weight, np.random.default_rng(1))
    assert (x["token_ids"][::2] == ids[::2]).all()
    assert not target[::2].any()
    assert not weight[::2].any()
    own = slice(1, None, 2)
    chosen = weight[own] > 0
    assert (x["token_ids"][own] == np.where(chosen, 2, ids[own])).all()
    assert (target[own][chosen] == ids[own][chosen]).all()
    assert not chosen[:, 0].any()
    assert (chosen[:, 2::2] == chosen[:, 3::2]).all()
    assert chosen[:, 1:].mean() == pytest.approx(0.5, abs=0.03)
    assert (target.dtype, weight.dtype, x["token_ids"].dtype) == ("int32", "float32", "int32")


def test_random_tokens_are_never_special():
    head, _ = make_head(rate=0.9, keep=0.0, random=1.0)
    x = {"token_ids": np.full((50, 20), 5, "int32")}
    head.prepare_batch(x, np.tile(np.arange(20, dtype="int32"), (50, 1)), np.ones((50, 20), "float32"), np.random.default_rng(0))
    assert set(np.unique(x["token_ids"])) == set(range(3, VOCABULARY))


def by_hand(head, embedding, features):
    """Log-probabilities `[B, S, V]`, computed at all positions."""
    hidden = head(features)
    logits = np.asarray(hidden) @ np.asarray(embedding.embeddings).T + np.asarray(head.bias)
    return np.log(np.exp(logits) / np.exp(logits).sum(-1, keepdims=True))


def test_computing_at_hidden_tokens_is_computing_everywhere():
    head, embedding = make_head()
    features, target, weight = batch()
    head(features)
    head.bias.assign(np.random.default_rng(3).normal(size=VOCABULARY))
    log_p = by_hand(head, embedding, features)
    losses = -np.take_along_axis(log_p, target[..., None], -1)[..., 0]
    expected = [(losses * weight).sum(), weight.sum()]
    np.testing.assert_allclose(head.loss(target, head(features), weight, features), expected, rtol=1e-5)
    loss_sum, weight_sum, outputs = head.score(target, weight, features, training=True)
    np.testing.assert_allclose([loss_sum, weight_sum], expected, rtol=1e-5)
    metrics = head.make_metrics()
    for metric in metrics.values():
        metric.accumulate(metric.statistics(target, outputs, weight, features))
    right = ((log_p.argmax(-1) == target) * weight).sum() / weight.sum()
    assert float(metrics["accuracy"].result()) == pytest.approx(right)
    assert float(metrics["perplexity"].result()) == pytest.approx(np.exp(expected[0] / expected[1]), rel=1e-5)


def test_the_transform_is_a_layer_and_a_norm():
    head, _ = make_head()
    features, _, _ = batch()
    found = np.asarray(head(features))
    x = features["sequence"] @ np.asarray(head.dense.kernel)
    x = np.asarray(keras.activations.gelu(x))
    np.testing.assert_allclose(found, (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("rows", [0, 3])
def test_nothing_hidden_is_no_loss(rows):
    head, embedding = make_head()
    head(batch()[0])
    features, target, weight = batch(rows)
    variables = [*head.trainable_variables, *embedding.trainable_variables]
    with tf.GradientTape() as tape:
        loss_sum, weight_sum, _ = head.score(target, 0 * weight, features, training=True)
    assert (float(loss_sum), float(weight_sum)) == (0.0, 0.0)
    gradients = tape.gradient(loss_sum, [v.value for v in variables], unconnected_gradients="zero")
    assert all(not tf.convert_to_tensor(g).numpy().any() for g in gradients)


def test_the_embeddings_are_the_encoders():
    head, embedding = make_head()
    features, target, weight = batch()
    head(features)
    assert [v.name for v in head.weights].count("embeddings") == 0
    assert len(head.weights) == 5
    with tf.GradientTape() as tape:
        loss_sum, _, _ = head.score(target, weight, features, training=True)
    assert np.any(tf.convert_to_tensor(tape.gradient(loss_sum, embedding.embeddings.value)))


def test_saves_without_its_encoder_and_goes_on_with_another(tmp_path):
    head, embedding = make_head(rate=0.2)
    features, target, weight = batch()
    inputs = {"sequence": keras.Input((None, HIDDEN), name="sequence")}
    model = keras.Model(inputs, head(inputs))
    expected = head.score(target, weight, features, training=False)[0]
    model.save(tmp_path / "model.keras")
    again = next(layer for layer in keras.saving.load_model(tmp_path / "model.keras").layers if isinstance(layer, MaskedLM))
    assert again.rate == 0.2
    with pytest.raises(ValueError, match=r"call attach\(encoder\)"):
        again.score(target, weight, features, training=False)
    encoder = make_encoder()
    encoder.token_embedding.set_weights(embedding.get_weights())
    again.attach(encoder)
    np.testing.assert_allclose(again.score(target, weight, features, training=False)[0], expected, rtol=1e-6)


def test_needs_an_encoder():
    with pytest.raises(ValueError, match=r"call attach\(encoder\)"):
        MaskedLM()(batch()[0])
    with pytest.raises(ValueError, match=r"call attach\(encoder\)"):
        MaskedLM().prepare_batch({}, np.zeros((1, 1), int), np.ones((1, 1)), np.random.default_rng(0))
    for encoder in (SimpleNamespace(tokenizer=None), make_encoder(mask_id=None)):
        with pytest.raises(ValueError, match="expects an encoder whose tokenizer has a mask token"):
            MaskedLM().attach(encoder)


def test_a_head_that_a_model_uses_stays_with_its_encoder():
    head, first = MaskedLM(), make_encoder()
    head.attach(make_encoder())  # As `mix` does, before there is a model, whose sharing may use a copy of the encoder.
    head.attach(first)
    head(batch()[0])
    head.attach(first)  # A task added: the same encoder in another model.
    second = make_encoder()
    second.tokenizer = first.tokenizer
    with pytest.raises(ValueError, match="belongs to a model with another encoder. Make a new MaskedLM"):
        head.attach(second)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"rate": 0.0}, "`rate` as a number above 0"), ({"keep": 0.6, "random": 0.5}, "add up to at most 1")],
)
def test_bad_shares(options, message):
    with pytest.raises(ValueError, match=message):
        MaskedLM(**options)
