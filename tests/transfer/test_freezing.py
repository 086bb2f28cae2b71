import keras
import numpy as np
import pytest

from mtl.encoders import Recurrent, Transformer
from mtl.sharing import Soft
from mtl.transfer import freeze, unfreeze
from tests.transfer.stack import X, Y, make_model, moved, values

EMBEDDING, LOW, HIGH, POOLING = {"embedding"}, {"dense_0", "norm_0"}, {"dense_1", "norm_1"}, {"pooling"}
ALL = EMBEDDING | LOW | HIGH | POOLING


def trained(encoder):
    return {variable.path.split("/")[0] for variable in encoder.trainable_variables}


def compiled(model, optimizer=None):
    model.compile(optimizer or keras.optimizers.AdamW(0.05, weight_decay=0.1))
    return model


def moved_by_a_step(model):
    before = values(model.encoder)
    model.fit(X, Y, verbose=0)
    return moved(before, model.encoder)


@pytest.mark.parametrize(("layers", "left"), [("all", set()), (1, ALL - EMBEDDING), (2, HIGH | POOLING), (3, POOLING)])
def test_freezing_begins_at_the_embeddings(layers, left):
    model = make_model(pooling="attention")
    freeze(model, layers)
    assert trained(model.encoder) == left


@pytest.mark.parametrize(("layers", "back"), [("all", ALL), (1, HIGH | POOLING), (2, HIGH | LOW | POOLING), (3, ALL)])
def test_unfreezing_begins_at_the_top(layers, back):
    model = make_model(pooling="attention")
    freeze(model)
    unfreeze(model, layers)
    assert trained(model.encoder) == back


def test_what_is_frozen_does_not_move_and_the_rest_does():
    model = make_model(pooling="attention")
    freeze(model, 2)
    assert moved_by_a_step(compiled(model)) == HIGH | POOLING


def test_keras_goes_on_as_before_where_only_the_flag_is_set():
    # Why `freeze` compiles again: a train function that exists does not see the flag.
    layer = keras.layers.Dense(1)
    model = keras.Sequential([keras.Input((2,)), layer])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    x, y = np.ones((4, 2), "float32"), np.full((4, 1), 9.0, "float32")
    model.fit(x, y, verbose=0)
    before = layer.get_weights()[0]
    layer.trainable = False
    model.fit(x, y, verbose=0)
    assert not np.array_equal(before, layer.get_weights()[0])


def test_a_model_that_has_trained_freezes_and_unfreezes_at_once():
    model = compiled(make_model(pooling="attention"))
    model.fit(X, Y, verbose=0)
    changes = (
        (lambda: freeze(model, "all"), set[str]()),
        (lambda: unfreeze(model, 1), HIGH | POOLING),
        (lambda: unfreeze(model, "all"), ALL),
    )
    for change, expected in changes:
        change()
        head = model.heads["a"].get_weights()[0]
        assert moved_by_a_step(model) == expected
        assert not np.array_equal(head, model.heads["a"].get_weights()[0])
    assert int(model.optimizer.iterations) == 4


def test_the_optimizer_keeps_the_state_of_what_is_still_trained():
    model = compiled(make_model(), keras.optimizers.Adam(0.05))
    model.fit(X, Y, verbose=0)
    optimizer = model.optimizer
    optimizer.learning_rate = 0.01
    state = {variable.path: variable.numpy() for variable in optimizer.variables}
    assert any(np.abs(value).max() > 0 for path, value in state.items() if "dense_1" in path and "momentum" in path)
    freeze(model, 2)
    kept = {variable.path: variable.numpy() for variable in model.optimizer.variables}
    assert model.optimizer is not optimizer and set(kept) < set(state)
    assert not any("embedding" in path or "dense_0" in path for path in kept)
    for path, value in kept.items():
        np.testing.assert_array_equal(value, state[path])
    unfreeze(model)
    back = {variable.path: variable.numpy() for variable in model.optimizer.variables}
    assert set(back) == set(state) and float(model.optimizer.learning_rate) == pytest.approx(0.01)
    assert not any(value.any() for path, value in back.items() if "dense_0" in path)


def test_gradual_unfreezing_from_a_callback():
    model = make_model()
    freeze(model)
    compiled(model)
    seen = []

    class Thaw(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.before = values(model.encoder)
            if epoch:
                unfreeze(self.model, epoch)

        def on_epoch_end(self, epoch, logs=None):
            seen.append(moved(self.before, model.encoder))

    history = model.fit(X, Y, epochs=3, verbose=0, callbacks=[Thaw()], validation_data=(X, Y))
    assert seen == [set(), HIGH, HIGH | LOW]
    assert len(history.history["val_loss"]) == 3 and int(model.optimizer.iterations) == 3


def test_the_file_keeps_what_is_frozen_and_the_optimizer(tmp_path):
    model = make_model()
    freeze(model, 2)
    compiled(model)
    model.fit(X, Y, verbose=0)
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    assert trained(copy.encoder) == HIGH
    for a, b in zip(model.optimizer.variables, copy.optimizer.variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert moved_by_a_step(copy) == HIGH


def test_the_file_keeps_what_is_unfrozen(tmp_path):
    encoder = Recurrent(vocabulary_size=12, embedding=4, units=4, train_embedding=False)
    encoder.save(tmp_path / "encoder.keras")
    assert not keras.models.load_model(tmp_path / "encoder.keras").token_embedding.trainable
    unfreeze(encoder)
    encoder.save(tmp_path / "encoder.keras")
    assert keras.models.load_model(tmp_path / "encoder.keras").token_embedding.trainable


def test_all_encoders_of_a_model_are_meant(tmp_path):
    model = compiled(make_model(Soft(0.1)))
    model.fit(X, Y, verbose=0)
    freeze(model, 2)
    encoders = [model.sharing.encoder_of(task) for task in "ab"]
    before = [values(encoder) for encoder in encoders]
    model.fit(X, Y, verbose=0)
    assert [moved(*each) for each in zip(before, encoders, strict=True)] == [HIGH] * 2
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    assert [trained(copy.sharing.encoder_of(task)) for task in "ab"] == [HIGH] * 2


def test_an_encoder_frozen_by_keras_own_flag():
    model = make_model()
    model.encoder.trainable = False
    unfreeze(model, 1)
    assert trained(model.encoder) == HIGH


def test_dropout_stays_active_in_a_frozen_encoder():
    model = make_model(dropout=0.5)
    freeze(model)
    inputs = {"token_ids": X["token_ids"], "padding_mask": np.ones_like(X["token_ids"])}
    one, two = (model.encoder(inputs, training=True)["pooled"].numpy() for _ in range(2))
    assert not np.allclose(one, two)


def test_frozen_batch_normalization_keeps_its_statistics():
    layer = keras.layers.BatchNormalization()
    layer.build((None, 3))
    layer.trainable = False
    x = np.random.default_rng(0).normal(3, 2, (16, 3)).astype("float32")
    # Moving mean 0 and variance 1, epsilon 1e-3: the output is the input over sqrt(1.001).
    np.testing.assert_allclose(layer(x, training=True).numpy(), x / np.sqrt(1.001), rtol=1e-5)
    np.testing.assert_array_equal(layer.moving_mean.numpy(), np.zeros(3))


def test_a_transformer_has_its_embeddings_as_block_0():
    encoder = Transformer(vocabulary_size=10, width=8, layers=2, heads=2)
    freeze(encoder, 1)
    names = trained(encoder)
    assert not any("embedding" in name for name in names) and {"attention_0", "feedforward_norm_1"} <= names


@pytest.mark.parametrize("layers", [0, 4, -1, 1.0, True, "top", None])
def test_bad_numbers_of_blocks(layers):
    expected = "'all' or a number of blocks from 1 to 3" if layers == 4 else "`layers` as 'all' or a whole number from 1; got"
    for change in (freeze, unfreeze):
        with pytest.raises(ValueError, match=expected):
            change(make_model(), layers)


def test_neither_model_nor_encoder():
    with pytest.raises(TypeError, match="expects `model` as a mtl.MultiTaskModel or a mtl.encoders.Encoder; got a Dense"):
        freeze(keras.layers.Dense(1))
