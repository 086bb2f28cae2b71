import keras
import numpy as np
import pytest

from mtl.layers import Readout


def test_is_linear_without_hidden():
    layer = Readout(2)
    x = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    y = layer(x)
    kernel, bias = layer.get_weights()
    np.testing.assert_allclose(y, x @ kernel + bias, rtol=1e-5, atol=1e-6)


def test_hidden_layer_is_tanh():
    layer = Readout(2, hidden=5)
    x = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    y = layer(x)
    v, a, w, b = layer.get_weights()
    np.testing.assert_allclose(y, np.tanh(x @ v + a) @ w + b, rtol=1e-5, atol=1e-6)


def test_dropout_only_in_training():
    layer = Readout(2, dropout=0.5)
    x = np.ones((8, 32), "float32")
    np.testing.assert_array_equal(layer(x), layer(x, training=False))
    assert np.abs(layer(x, training=True) - layer(x)).max() > 0


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_gives_float32_under_every_policy(policy):
    layer = Readout(2, hidden=5, dtype=policy)
    symbolic = layer(keras.KerasTensor((None, 4), layer.compute_dtype))
    assert (symbolic.shape, symbolic.dtype) == ((None, 2), "float32")
    assert layer(np.ones((3, 4), "float32")).dtype == "float32"


def test_config_round_trips():
    layer = Readout(2, hidden=5, dropout=0.3)
    assert Readout.from_config(layer.get_config()).get_config() == layer.get_config()
