"""A linear model of a text's n-grams."""

import numpy as np
import pytest

from mtl.layers import NGramLinear


def by_hand(layer: NGramLinear, rows: list[list[int]]) -> np.ndarray:
    """The definition, n-gram by n-gram, with Python's whole numbers."""
    table = layer.table.embeddings.numpy()
    result = []
    for row in rows:
        found = []
        for start in range(len(row)):
            value = 0
            for n, token in enumerate(row[start : start + layer.order]):
                value = (value * 1_103_515_245 + token + 1 + n) % (2**31 - 1)
                found.append(table[value % layer.buckets])
        result.append(5 * np.sum(found, axis=0) / np.sqrt(max(len(found), 1)) if found else np.zeros(layer.units))
    return np.array(result)


def filled(**settings: int) -> NGramLinear:
    layer = NGramLinear(3, **settings)
    layer.build()
    layer.table.embeddings.assign(np.random.default_rng(0).normal(size=(layer.buckets, 3)))
    return layer


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_all_ngrams_are_added_up(order: int) -> None:
    layer = filled(order=order, buckets=997)
    rows = [[4, 9, 4, 7], [8], [], [20_000, 5, 5]]
    ids, mask = np.zeros((4, 4), "int32"), np.zeros((4, 4), "int32")
    for i, row in enumerate(rows):
        ids[i, : len(row)], mask[i, : len(row)] = row, 1
    np.testing.assert_allclose(layer(ids, mask), by_hand(layer, rows), rtol=1e-5, atol=1e-5)


def test_padding_says_nothing() -> None:
    layer = filled(order=3, buckets=997)
    short = layer(np.array([[4, 9]]), np.array([[1, 1]]))
    np.testing.assert_allclose(layer(np.array([[4, 9, 3, 3, 3]]), np.array([[1, 1, 0, 0, 0]])), short, rtol=1e-6)


def test_the_order_of_tokens_counts() -> None:
    layer = filled(order=2, buckets=997)
    ones = np.ones((1, 2), "int32")
    assert np.abs(layer(np.array([[4, 9]]), ones) - layer(np.array([[9, 4]]), ones)).max() > 0.1


def test_dropout_leaves_out_whole_ngrams_and_keeps_the_mean() -> None:
    """Single tokens whose rows of the table are 1, so that the sum counts the tokens that stay, each twice as heavy."""
    layer = NGramLinear(1, order=1, buckets=10, dropout=0.5)
    layer.build()
    layer.table.embeddings.assign(np.ones((10, 1)))
    ids = np.ones((200, 25), "int32")
    assert np.unique(layer(ids, ids)) == pytest.approx([5 * 25 / 5.0])
    counts = np.asarray(layer(ids, ids, training=True))[:, 0] * 5.0 / 5.0 / 2.0
    np.testing.assert_allclose(counts, counts.round(), atol=1e-3)
    assert counts.min() < 10 and counts.max() > 15 and abs(counts.mean() - 12.5) < 4 * 2.5 / 200**0.5


def test_what_was_never_met_says_nothing() -> None:
    assert not np.any(NGramLinear(2)(np.array([[5, 6]]), np.array([[1, 1]])))


@pytest.mark.parametrize("settings", [{"order": 0}, {"buckets": 0}])
def test_bad_settings(settings: dict) -> None:
    with pytest.raises(ValueError, match="at least 1 token and 1 bucket"):
        NGramLinear(2, **settings)
