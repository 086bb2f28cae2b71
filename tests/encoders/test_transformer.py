from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from mtl.encoders import Transformer
from tests.encoders.arithmetic import ACTIVATIONS, attention, layer_norm

IDS = np.array([[3, 4, 5, 6, 7], [8, 9, 0, 0, 0]])
MASK = (IDS > 0).astype("int32")
SEGMENTS = np.array([[0, 0, 1, 1, 1], [0, 1, 0, 0, 0]])


def forward(encoder, row, mask, segments):
    layers: dict[str, Any] = {layer.name: [np.array(w.numpy(), "float64") for w in layer.weights] for layer in encoder.layers}
    sizes = encoder.get_config()
    h, pre = sizes["width"], sizes["norm"] == "pre"

    def norm(x, name):
        gamma, beta = layers[name]
        return layer_norm(x, gamma, beta, 1e-6)

    x = layers["token_embedding"][0][row] + layers["position_embedding"][0][: len(row)]
    if sizes["segments"]:
        x = x + layers["segment_embedding"][0][segments]
    x = norm(x, "embedding_norm")
    for i in range(sizes["layers"]):
        weights = layers[f"attention_{i}"]
        pairs = [(weights[k].reshape(h, h), weights[k + 1].reshape(h)) for k in range(0, 8, 2)]
        x = x + attention(norm(x, f"attention_norm_{i}") if pre else x, mask, sizes["heads"], *pairs)
        x = x if pre else norm(x, f"attention_norm_{i}")
        (up, up_bias), (down, down_bias) = layers[f"feedforward_up_{i}"], layers[f"feedforward_down_{i}"]
        y = norm(x, f"feedforward_norm_{i}") if pre else x
        x = x + ACTIVATIONS[sizes["activation"]](y @ up + up_bias) @ down + down_bias
        x = x if pre else norm(x, f"feedforward_norm_{i}")
    return norm(x, "final_norm") if pre else x


@pytest.mark.parametrize(
    "options",
    [
        {"norm": "post"},
        {"norm": "pre"},
        {"norm": "post", "segments": 0, "activation": "relu", "feedforward": 5},
        {"norm": "pre", "dropout": 0.0},
        {"norm": "pre", "packed": True},
        {"norm": "post", "packed": True, "segments": 0},
    ],
)
def test_equals_the_arithmetic_in_numpy(options):
    encoder = Transformer(vocabulary_size=10, width=8, layers=2, heads=2, max_length=6, **options)
    rng = np.random.default_rng(0)
    for weight in encoder.weights:
        weight.assign(rng.normal(size=weight.shape))
    x = {"token_ids": IDS, "padding_mask": MASK, "segment_ids": SEGMENTS}
    got = encoder({name: x[name] for name in encoder.input_names})["sequence"].numpy()
    for row, mask, segments, vectors in zip(IDS, MASK, SEGMENTS, got, strict=True):
        np.testing.assert_allclose(vectors[mask == 1], forward(encoder, row, mask, segments)[mask == 1], atol=1e-4)


@pytest.mark.parametrize("rows", [0, 1, 7])
def test_packed_is_what_unpacked_is(rows):
    """Outputs and gradients, in a graph that knows neither rows nor length; seven rows of 0 to 6 tokens go into four."""
    rng = np.random.default_rng(1)
    mask = (np.arange(6) < np.array([2, 6, 1, 5, 0, 3, 4])[:rows, None]).astype("int32")
    x = {
        "token_ids": rng.integers(1, 10, mask.shape) * mask,
        "padding_mask": mask,
        "segment_ids": rng.integers(0, 2, mask.shape) * mask,
    }
    weight = rng.normal(size=(*mask.shape, 8)).astype("float32") * mask[:, :, None]
    spec = {name: tf.TensorSpec([None, None], tf.int32) for name in x}

    def run(packed):
        encoder = Transformer(vocabulary_size=10, width=8, layers=2, heads=2, max_length=6, dropout=0.0, packed=packed)
        for number, variable in enumerate(encoder.weights):
            variable.assign(np.random.default_rng(number).normal(size=variable.shape))

        @tf.function(input_signature=[spec, tf.TensorSpec([None, None, 8], tf.float32)], autograph=False)
        def results(x, weight):
            with tf.GradientTape() as tape:
                features = encoder(x, training=True)
                loss = tf.reduce_sum(features["sequence"] * weight) + tf.reduce_sum(features["pooled"] ** 2)
            gradients = tape.gradient(loss, [variable.value for variable in encoder.trainable_variables])
            sequence = features["sequence"] * tf.cast(x["padding_mask"][:, :, None], tf.float32)
            return sequence, features["pooled"], *[tf.convert_to_tensor(gradient) for gradient in gradients]

        return results({name: tf.constant(each, tf.int32) for name, each in x.items()}, tf.constant(weight, tf.float32))

    for ours, unpacked in zip(run(True), run(False), strict=True):
        np.testing.assert_allclose(ours, unpacked, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_blocks_hold_every_layer_below_the_pooling(norm):
    encoder = Transformer(vocabulary_size=10, width=8, layers=3, heads=2, norm=norm, pooling="attention")
    assert len(encoder.blocks) == 4
    in_blocks = {id(layer) for block in encoder.blocks for layer in block}
    assert {layer.name for layer in encoder.layers if layer.weights and id(layer) not in in_blocks} == {"pooling"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "prenorm"}, "Unknown norm 'prenorm'; did you mean 'pre'"),
        ({"width": 10, "heads": 4}, "a width that its heads divide; got width=10 and heads=4"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        Transformer(vocabulary_size=10, **options)


def test_a_sequence_beyond_the_positions_is_refused():
    encoder = Transformer(vocabulary_size=10, width=8, layers=1, heads=2, max_length=4, segments=0)
    with pytest.raises(ValueError, match="Transformer expects at most max_length=4 tokens; got 5"):
        encoder({"token_ids": IDS, "padding_mask": MASK})
