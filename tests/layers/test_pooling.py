import keras
import numpy as np
import pytest

from mtl.layers import Pooling

SEQUENCE = np.array([[[1.0, -2.0], [3.0, -4.0], [90.0, 90.0]], [[5.0, 6.0], [70.0, 70.0], [80.0, 80.0]]], "float32")
MASK = np.array([[1, 1, 0], [1, 0, 0]])


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("cls", [[1, -2], [5, 6]]), ("mean", [[2, -3], [5, 6]]), ("max", [[3, -2], [5, 6]])],
)
def test_values(mode, expected):
    np.testing.assert_allclose(Pooling(mode)(SEQUENCE, padding_mask=MASK), expected)


def test_attention_is_a_weighted_mean_of_the_tokens():
    layer = Pooling("attention")
    layer.build((None, None, 2))
    layer.kernel.assign(np.eye(2))
    layer.bias.assign([0.0, 0.5])
    layer.context.assign([[1.0], [2.0]])
    scores = [np.tanh(1) + 2 * np.tanh(-1.5), np.tanh(3) + 2 * np.tanh(-3.5)]
    first = 1 / (1 + np.exp(scores[1] - scores[0]))
    expected = [[first * 1 + (1 - first) * 3, first * -2 + (1 - first) * -4], [5, 6]]
    np.testing.assert_allclose(layer(SEQUENCE, padding_mask=MASK), expected, rtol=1e-5)


@pytest.mark.parametrize("mode", ["mean", "max", "attention"])
def test_a_row_without_tokens_pools_to_zeros(mode):
    np.testing.assert_array_equal(Pooling(mode)(SEQUENCE, padding_mask=np.zeros([2, 3], "int32")), np.zeros([2, 2]))


@pytest.mark.parametrize("mode", ["cls", "mean", "max", "attention"])
@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_short_floats_keep_padding_out(mode, dtype):
    pooled = Pooling(mode, dtype=dtype)(SEQUENCE, padding_mask=MASK)
    assert keras.backend.standardize_dtype(pooled.dtype) == dtype.removeprefix("mixed_")
    np.testing.assert_allclose(keras.ops.cast(pooled, "float32")[1], [5, 6])


@pytest.mark.parametrize("mode", ["cls", "mean", "max", "attention"])
def test_config_and_symbolic_shape(mode):
    layer = Pooling.from_config(Pooling(mode).get_config())
    assert layer.mode == mode
    assert layer(keras.KerasTensor((None, None, 4)), padding_mask=keras.KerasTensor((None, None), "int32")).shape == (None, 4)


def test_an_unknown_mode_gives_the_nearest():
    with pytest.raises(ValueError, match="Unknown pooling 'meen'; did you mean 'mean'"):
        Pooling("meen")
