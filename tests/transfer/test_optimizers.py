from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtl import MultiTaskModel, Task
from mtl.encoders import Pretrained, Recurrent, Transformer
from mtl.heads import Classification, Tagging
from mtl.sharing import Soft
from mtl.training.task_variables import slots_of
from mtl.transfer import ScaledAdamW, adamw, freeze
from tests.transfer.stack import X, Y, make_model, moved, values


def bert():
    import keras_hub

    return keras_hub.models.BertBackbone(30, num_layers=2, num_heads=2, hidden_dim=8, intermediate_dim=12)


def with_heads(encoder):
    tasks = [Task("mood", Classification(2, name="mood")), Task("ner", Tagging(["O", "B-X", "I-X"], crf=True, name="ner"))]
    return MultiTaskModel(encoder, tasks)


HEADS = {"mood/readout/linear/kernel", "ner/readout/linear/kernel", "ner/transitions"}
BERT_PARTS = ("query", "key", "value", "attention_output")
ENCODERS = {
    "recurrent": (
        lambda: Recurrent(vocabulary_size=12, embedding=4, units=4, bidirectional=False, bigrams=6, pooling="attention"),
        {
            "token_embedding/embeddings",
            "bigram_embedding/table/embeddings",
            "forward_0/lstm_cell/kernel",
            "forward_0/lstm_cell/recurrent_kernel",
            "pooling/kernel",
            "pooling/context",
        },
    ),
    "gru": (  # Its bias is a matrix.
        lambda: Recurrent(vocabulary_size=12, cell="gru", embedding=4, units=4, bidirectional=False),
        {"token_embedding/embeddings", "forward_0/gru_cell/kernel", "forward_0/gru_cell/recurrent_kernel"},
    ),
    "transformer": (
        lambda: Transformer(vocabulary_size=12, width=8, layers=1, heads=2, norm="pre"),
        {
            *(f"{name}_embedding/embeddings" for name in ("token", "position", "segment")),
            *(f"attention_0/{name}/kernel" for name in BERT_PARTS),
            "feedforward_up_0/kernel",
            "feedforward_down_0/kernel",
        },
    ),
    "bert": (
        lambda: Pretrained(bert()),
        {
            *(f"{name}_embedding/embeddings" for name in ("token", "position", "segment")),
            *(f"transformer_layer_{i}/self_attention_layer/{name}/kernel" for i in (0, 1) for name in BERT_PARTS),
            *(f"transformer_layer_{i}/feedforward_{name}_dense/kernel" for i in (0, 1) for name in ("intermediate", "output")),
        },
    ),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_exactly_the_matrices_decay(name):
    make, expected = ENCODERS[name]
    model = with_heads(make())
    optimizer = adamw(model, 0.5, steps=10, schedule="constant", warmup=0.0, weight_decay=0.1)
    variables = model.trainable_variables
    optimizer.build(variables)
    for variable in variables:
        variable.assign(np.ones(variable.shape))
    # Without a gradient Adam's step is 0: what is left is 1 - 0.5 * 0.1.
    optimizer.apply([tf.zeros(variable.shape) for variable in variables], variables)
    result = {variable.path: variable.numpy() for variable in variables}
    assert {path for path, value in result.items() if not np.allclose(value, 1)} == expected | HEADS
    for path in expected | HEADS:
        np.testing.assert_allclose(result[path], 0.95, rtol=1e-6)


def test_a_step_is_that_of_two_keras_optimizers():
    # Keras's AdamW at the scaled rate with decay for the matrix, and its Adam at the full rate for the vector.
    rng = np.random.default_rng(0)
    starts = [rng.normal(size=(3, 2)).astype("float32"), rng.normal(size=2).astype("float32")]
    gradients = [[rng.normal(size=start.shape).astype("float32") for start in starts] for _ in range(4)]
    peers = [keras.optimizers.AdamW(0.02, weight_decay=0.3), keras.optimizers.Adam(0.1)]
    mine = [keras.Variable(start, name=name) for start, name in zip(starts, ("kernel", "gamma"), strict=True)]
    theirs = [keras.Variable(start) for start in starts]
    optimizer = ScaledAdamW(0.1, 0.3, learning_rate_scales={"kernel": 0.2})
    for step in gradients:
        optimizer.apply([tf.constant(gradient) for gradient in step], mine)
        for peer, gradient, variable in zip(peers, step, theirs, strict=True):
            peer.apply([tf.constant(gradient)], [variable])
    for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-7)


def test_learning_rates_by_layer():
    model = with_heads(Pretrained(bert(), pooling="attention"))
    optimizer = adamw(model, 2e-5, steps=10, layer_decay=0.5, head_learning_rate=1e-4)
    scales = {variable.path: optimizer.scale_of(variable) for variable in model.trainable_variables}
    layers = {path.split("/")[0]: scale for path, scale in scales.items()}
    # Three blocks: the highest at 1/2, the embeddings at 1/8. Heads have 1e-4 / 2e-5 = 5.
    assert layers == pytest.approx(
        {
            **dict.fromkeys(["token_embedding", "position_embedding", "segment_embedding", "embeddings_layer_norm"], 0.125),
            "transformer_layer_0": 0.25,
            "transformer_layer_1": 0.5,
            "pooling": 1.0,
            "mood": 5.0,
            "ner": 5.0,
        }
    )
    assert all(scales[path] == layers[path.split("/")[0]] for path in scales)


def test_the_copies_of_soft_sharing_have_the_scales_of_the_first():
    model = make_model(Soft(0.1))
    optimizer = adamw(model, 1e-3, steps=10, layer_decay=0.5, head_learning_rate=1e-2)
    for task in "ab":
        encoder = model.sharing.encoder_of(task)
        assert [optimizer.scale_of(block[0].trainable_variables[0]) for block in encoder.blocks] == [0.125, 0.25, 0.5]
        assert optimizer.scale_of(model.heads[task].trainable_variables[0]) == pytest.approx(10)


def test_a_learning_rate_for_each_task():
    model = make_model(Soft(0.1))
    optimizer = adamw(model, 1e-3, steps=10, head_learning_rate={"b": 1e-2})
    scales = {variable.path.split("/")[0]: optimizer.scale_of(variable) for variable in model.trainable_variables}
    assert {name: scale for name, scale in scales.items() if scale != 1} == pytest.approx({"b_head": 10.0})
    with pytest.raises(ValueError, match="Unknown task in head_learning_rate 'c'"):
        adamw(model, 1e-3, steps=10, head_learning_rate={"c": 1e-2})
    with pytest.raises(ValueError, match="`head_learning_rate` as a finite number above 0, a dict .*; got {'b': 0.0}"):
        adamw(model, 1e-3, steps=10, head_learning_rate={"b": 0.0})


def test_an_encoder_alone_and_names_that_begin_alike():
    encoder = Transformer(vocabulary_size=12, width=8, layers=11, heads=2, segments=0)
    optimizer = adamw(encoder, steps=10, layer_decay=0.9)
    kernels = {variable.path: optimizer.scale_of(variable) for variable in encoder.trainable_variables}
    assert kernels["feedforward_up_10/kernel"] == pytest.approx(0.9)
    assert kernels["feedforward_up_1/kernel"] == pytest.approx(0.9**10)
    assert kernels["token_embedding/embeddings"] == pytest.approx(0.9**12)


def test_it_trains_under_fit_and_comes_back_from_the_file(tmp_path):
    model = make_model()
    freeze(model, 1)
    model.compile(adamw(model, 0.05, steps=10, weight_decay=0.2, layer_decay=0.5, head_learning_rate=0.1, global_clipnorm=1.0))
    before = values(model.encoder)
    model.fit(X, Y, epochs=2, verbose=0)
    assert moved(before, model.encoder) == {"dense_0", "norm_0", "dense_1", "norm_1"}
    # The first of ten steps is the whole warm-up.
    assert float(model.optimizer.learning_rate) == pytest.approx(0.05 * 8 / 9)
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(copy.optimizer, ScaledAdamW)
    assert copy.optimizer.get_config() == model.optimizer.get_config()
    for a, b in zip(model.trainable_variables, copy.trainable_variables, strict=True):
        assert (a.path, model.optimizer.scale_of(a)) == (b.path, copy.optimizer.scale_of(b))
        assert model.optimizer.decays(a) == copy.optimizer.decays(b)
    for each in (model, copy):
        each.fit(X, Y, verbose=0, shuffle=False)
    for a, b in zip(model.get_weights(), copy.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_task_without_rows_does_not_move_through_momentum_or_decay():
    model = make_model()
    model.compile(adamw(model, 0.05, steps=20, warmup=0.0, weight_decay=0.5, head_learning_rate=0.1))
    model.fit(X, Y, verbose=0)
    head = model.heads["b"]
    slots = slots_of(model.optimizer, head.trainable_variables)
    assert len(slots) == 2 * len(head.trainable_variables)
    before = [variable.numpy() for variable in (*head.trainable_variables, *slots)]
    model.fit(X, {"a": Y["a"]}, verbose=0)
    for old, new in zip(before, (*head.trainable_variables, *slots), strict=True):
        np.testing.assert_array_equal(old, new.numpy())


def test_under_loss_scaling():
    inner = ScaledAdamW(0.1, 0.5, learning_rate_scales={"kernel": 0.5})
    optimizer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=8.0)
    variable = keras.Variable(np.ones((2, 2), "float32"), name="kernel")
    optimizer.build([variable])
    optimizer.apply([tf.fill((2, 2), 16.0)], [variable])
    # Decay takes 0.05 * 0.5 of 1 off, and Adam's first step is the learning rate, 0.05.
    np.testing.assert_allclose(variable.numpy(), 1 - 0.025 - 0.05, rtol=1e-5)


def test_bad_arguments():
    model = make_model()
    cases: list[tuple[dict[str, Any], str]] = [
        ({"learning_rate": 0.0}, "`learning_rate` as a finite number above 0; got 0.0"),
        ({"head_learning_rate": -1.0}, "`head_learning_rate` as a finite number above 0, a dict .* got -1.0"),
        ({"layer_decay": 1.5}, "`layer_decay` as a number above 0 to 1 or None; got 1.5"),
        ({"schedule": "cosin"}, "Unknown schedule 'cosin'; did you mean 'cosine'"),
    ]
    for options, message in cases:
        with pytest.raises(ValueError, match=message):
            adamw(model, steps=10, **options)
    with pytest.raises(TypeError, match="`model` as a mtl.MultiTaskModel or a mtl.encoders.Encoder; got a Sequential"):
        adamw(keras.Sequential(), steps=10, layer_decay=0.9)
    with pytest.raises(ValueError, match="takes what does not decay as no_decay"):
        ScaledAdamW().exclude_from_weight_decay(var_names=["bias"])
