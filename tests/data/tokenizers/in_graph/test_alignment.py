import numpy as np
import tensorflow as tf

from mtl.data.encoding import Encoding
from mtl.data.tokenizers.in_graph.alignment import align_words, own_characters, running_clip


def aligned(encodings, words):
    """`align_words` of a batch, as NumPy arrays."""
    width = max(1, *map(len, encodings))
    tokens = {name: np.full((len(encodings), width), -1, "int32") for name in ("starts", "ends")}
    tokens["segment_ids"] = np.zeros((len(encodings), width), "int32")
    for i, encoding in enumerate(encodings):
        size = len(encoding)
        tokens["starts"][i, :size], tokens["ends"][i, :size] = encoding.offsets.T
        tokens["segment_ids"][i, :size] = encoding.segment_ids
    spans = [tf.ragged.constant([[span[k] for span in row] for row in words], tf.int32, ragged_rank=1) for k in (0, 1)]
    return {name: value.numpy() for name, value in align_words(tokens, *spans).items()}


def encoding_of(offsets, segments=None):
    offsets = np.array(offsets, "int32").reshape(-1, 2)
    segments = np.zeros(len(offsets)) if segments is None else segments
    return Encoding(np.arange(len(offsets), dtype="int32"), np.array(segments, "int32"), offsets, "")


def test_by_hand():
    # [CLS] New Yor ##k [SEP] here [SEP], the last two of the second text; a word that was cut off; a row without tokens.
    first = encoding_of([(-1, -1), (0, 3), (4, 7), (7, 8), (-1, -1), (0, 4), (-1, -1)], [0, 0, 0, 0, 0, 1, 1])
    found = aligned([first, encoding_of([])], [[(0, 3), (4, 8), (9, 11)], []])
    assert found["word_tokens"].tolist() == [[1, 2, -1], [-1, -1, -1]]
    assert found["word_mask"].tolist() == [[0, 1, 1, 0, 0, 0, 0], [0] * 7]
    assert found["word_starts"].tolist() == [[0, 4, 9], [-1, -1, -1]]
    assert found["word_ends"].tolist() == [[3, 8, 11], [-1, -1, -1]]


def test_no_words_at_all():
    found = aligned([encoding_of([(0, 0)]), encoding_of([])], [[], []])
    assert found["word_tokens"].shape == (2, 0) and found["word_mask"].tolist() == [[0], [0]]


def test_no_texts():
    none = tf.RaggedTensor.from_row_lengths(tf.zeros([0], tf.int32), tf.zeros([0], tf.int32))
    found = align_words({name: tf.zeros([0, 1], tf.int32) for name in ("starts", "ends", "segment_ids")}, none, none)
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        **dict.fromkeys(("word_starts", "word_ends", "word_tokens"), (0, 0)),
        **dict.fromkeys(("word_mask", "token_mask"), (0, 1)),
    }


def test_running_clip():
    rng = np.random.default_rng(0)
    lower = rng.integers(-20, 20, (50, 23))
    upper = lower + rng.integers(0, 15, lower.shape)
    found = running_clip(tf.constant(lower, tf.int32), tf.constant(upper, tf.int32)).numpy()
    for row, low, high in zip(found.tolist(), lower.tolist(), upper.tolist(), strict=True):
        value, expected = -100, []
        for least, most in zip(low, high, strict=True):
            value = min(most, max(least, value))
            expected.append(value)
        assert row == expected


def test_equals_encodings():
    rng = np.random.default_rng(0)

    def spans(most, gap, width):
        steps = rng.integers(0, gap, (rng.integers(0, most), 2)) + [0, width]
        return np.cumsum(steps.reshape(-1)).reshape(-1, 2)

    encodings, words = [], []
    for turn in range(300):
        offsets = spans(12, 3, 0)  # some tokens have no width
        if turn % 3 == 0:
            offsets[:, 1] += rng.integers(0, 4, len(offsets))  # some share characters
        offsets[rng.random(len(offsets)) < 0.1] = -1
        encodings.append(encoding_of(offsets, np.arange(len(offsets)) >= rng.integers(1, 14)))
        words.append(spans(8, 3, 1))
    width = max(map(len, encodings))
    tokens = {name: np.full((len(encodings), width), -1, "int32") for name in ("starts", "ends")}
    tokens["segment_ids"] = np.zeros((len(encodings), width), "int32")
    for i, encoding in enumerate(encodings):
        tokens["starts"][i, : len(encoding)], tokens["ends"][i, : len(encoding)] = encoding.offsets.T
        tokens["segment_ids"][i, : len(encoding)] = encoding.segment_ids
    rows = zip(*(value.numpy() for value in own_characters({k: tf.constant(v) for k, v in tokens.items()})), strict=True)
    for encoding, (positions, starts, ends) in zip(encodings, rows, strict=True):
        places, own = encoding.own_characters()
        assert positions[positions >= 0].tolist() == places.tolist()
        assert np.stack([starts, ends], 1)[starts >= 0].tolist() == own.tolist()
    found = aligned(encodings, words)
    for encoding, mask in zip(encodings, found["token_mask"], strict=True):
        assert np.flatnonzero(mask).tolist() == encoding.own_characters()[0].tolist()
    assert (found["word_tokens"] >= 0).sum() > 200
    for i, (encoding, row) in enumerate(zip(encodings, words, strict=True)):
        first = encoding.word_tokens(row)
        assert found["word_tokens"][i].tolist() == [*first, *[-1] * (found["word_tokens"].shape[1] - len(first))]
        assert np.flatnonzero(found["word_mask"][i]).tolist() == sorted({*first[first >= 0]})
