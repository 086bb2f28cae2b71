import numpy as np
import pytest
import tensorflow as tf

from mtl.layers import Packing


def mask_of(sizes, length):
    return (np.arange(length) < np.asarray(sizes, int)[:, None]).astype("int32")


def test_texts_by_hand():
    """Longest first: 3 in row 0, which has no place for 2; row 1 takes 2 and 1, and is full with the second 1."""
    packed = {name: each.numpy().tolist() for name, each in Packing()(mask_of([1, 3, 1, 2], 4)).items()}
    assert packed["text"] == [[2, 2, 2, 0], [4, 4, 1, 3]]
    assert packed["source"] == [[4, 5, 6, 0], [12, 13, 0, 8]]
    assert packed["place"] == [[6, 0, 0, 0], [0, 1, 2, 0], [7, 0, 0, 0], [4, 5, 0, 0]]


def test_padding_may_stand_anywhere():
    packed = {name: each.numpy().tolist() for name, each in Packing()(np.array([[0, 0, 1, 1], [1, 0, 1, 0]])).items()}
    assert packed["text"] == [[1, 1, 2, 2]] and packed["source"] == [[2, 3, 4, 6]]
    assert packed["place"] == [[0, 0, 0, 1], [2, 0, 3, 0]]


@pytest.mark.parametrize(("sizes", "rows"), [([], 0), ([0], 1), ([5, 5], 2), ([1] * 5, 1), ([0, 1, 0, 4], 1), ([3, 3, 2, 2], 3)])
def test_rows_needed(sizes, rows):
    assert Packing()(mask_of(sizes, 5))["text"].shape == (rows, 5)


@pytest.mark.parametrize("seed", range(3))
def test_every_token_has_one_place(seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(0, 9, 12)
    mask = mask_of(sizes, 8)
    run = tf.function(Packing(), input_signature=[tf.TensorSpec([None, None], tf.int32)])
    packed = {name: each.numpy() for name, each in run(tf.constant(mask)).items()}
    tokens = np.flatnonzero(mask)
    places = packed["place"].ravel()[tokens]
    assert len(set(places)) == len(tokens) == (packed["text"] > 0).sum()
    np.testing.assert_array_equal(packed["source"].ravel()[places], tokens)
    np.testing.assert_array_equal(packed["text"].ravel()[places], tokens // 8 + 1)
    for number in np.flatnonzero(sizes):  # In one row, one behind the other.
        of_text = packed["place"][number, : sizes[number]]
        np.testing.assert_array_equal(of_text, of_text[0] + np.arange(sizes[number]))
        assert len(set(of_text // 8)) == 1
