import numpy as np
import tensorflow as tf

from mtl.data.spans import spans_of_tags
from mtl.data.tokenizers.in_graph.spans import span_edges

LABELS = ["O", *(f"{prefix}-{kind}" for kind in ("X", "Y") for prefix in "BIES"), "O"]


def test_by_hand():
    tags = ["B-X", "E-X", "I-Y", "I-X", "O", "S-X", "S-X", "I-X"]
    first, last = span_edges(tf.constant([[LABELS.index(tag) for tag in tags]]), LABELS)
    assert np.flatnonzero(first[0]).tolist() == [0, 2, 3, 5, 6, 7]
    assert np.flatnonzero(last[0]).tolist() == [1, 2, 3, 5, 6, 7]


def test_equals_spans_of_tags():
    ids = np.random.default_rng(0).integers(0, len(LABELS), (300, 7))
    first, last = (edges.numpy() for edges in span_edges(tf.constant(ids), LABELS))
    for row, begins, ends in zip(ids, first, last, strict=True):
        spans = spans_of_tags([LABELS[i] for i in row])
        assert np.flatnonzero(begins).tolist() == [start for start, _, _ in spans]
        assert np.flatnonzero(ends).tolist() == [end - 1 for _, end, _ in spans]


def test_no_columns():
    first, last = span_edges(tf.zeros([2, 0], tf.int32), LABELS)
    assert first.shape == last.shape == (2, 0)
