"""Spans of tags as TensorFlow graph operations."""

from collections.abc import Sequence

import tensorflow as tf

from mtl.data.tokenizers.in_graph.alignment import running_clip
from mtl.utils.tags import SCHEMES, split_tag, tag_parts

__all__ = ["span_edges", "widened_tags"]


def span_edges(ids: tf.Tensor, labels: Sequence[str]) -> tuple[tf.Tensor, tf.Tensor]:
    """Return where spans begin and end; `spans_of_tags` for a batch.

    Args:
        ids: int32 `[B, N]`, tags as indices of `labels`.
        labels: tags of any scheme.

    Returns:
        bool `[B, N]` twice: whether a position is the first, and whether it is the last, of a span. Both have equally many True
        values per row.

    Example:

    >>> first, last = span_edges(tf.constant([[1, 2, 0, 1]]), ["O", "B-X", "I-X"])
    >>> first.numpy().astype(int).tolist(), last.numpy().astype(int).tolist()
    ([[1, 0, 0, 1]], [[0, 1, 0, 1]])
    """
    parts = tag_parts(labels)
    outside, opens, closes, kind = (
        tf.gather(part, ids) for part in (parts.outside, parts.begins, parts.outside | parts.ends, parts.kinds)
    )
    edge = tf.ones_like(outside[:, :1])
    after_close = tf.concat([edge, closes[:, :-1]], 1)
    new_kind = tf.concat([edge, kind[:, 1:] != kind[:, :-1]], 1)
    first = ~outside & (opens | after_close | new_kind)
    return first, ~outside & tf.concat([(outside | first)[:, 1:], edge], 1)


def widened_tags(
    ids: tf.Tensor, positions: tf.Tensor, labels: Sequence[str], scheme: str
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return the tags of words whose spans are read at tokens; `Tagging.decode` for a batch.

    A span covers all words that are read at its tokens, and the words without a token between them.

    Args:
        ids: int32 `[B, N]`, the tag at each word's token as an index into `labels`.
        positions: int32 `[B, N]`, the token at which each word is read, -1 for none; several words may share one.
        labels: tags of the scheme.
        scheme: one of `SCHEMES`.

    Returns:
        Strings `[B, N]` twice, tags and types ("" for `O` and for tags without a type), and bool `[B, N]` twice, whether a
        word is the first, and whether it is the last, of a span.

    Example:

    >>> tags, *_ = widened_tags(tf.constant([[1, 1, 0, 2]]), tf.constant([[0, 0, -1, 1]]), ["O", "B-X", "I-X"], "BIO")
    >>> tags.numpy().tolist()
    [[b'B-X', b'I-X', b'I-X', b'I-X']]
    """
    labels = [*labels, "O"]
    there = positions >= 0
    edge = tf.ones_like(positions[:, :1])
    most = tf.fill(tf.shape(positions), tf.int32.max // 2)
    before = tf.concat([-edge, running_clip(positions, most)[:, :-1]], 1)
    # The nearest position after each word, from the maximum of the values before it in the reversed row.
    flipped = -tf.reverse(tf.where(there, positions, most), [1])
    after = -tf.reverse(tf.concat([-most[:, :1], running_clip(flipped, most)[:, :-1]], 1), [1])
    opens, closes = there & (positions > before), there & (positions < after)
    tokens = tf.ragged.boolean_mask(ids, opens).to_tensor(len(labels) - 1)
    tokens = tf.pad(tokens, [[0, 0], [0, 1]], constant_values=len(labels) - 1)
    token = tf.maximum(tf.cumsum(tf.cast(opens, tf.int32), axis=1) - 1, 0)
    first, last = (
        edges & tf.gather(of_tokens, token, batch_dims=1)
        for edges, of_tokens in zip((opens, closes), span_edges(tokens, labels), strict=True)
    )
    count = tf.cumsum(tf.cast(first, tf.int32), axis=1) - tf.cumsum(tf.cast(last, tf.int32), axis=1, exclusive=True)
    types = tf.gather([split_tag(label)[1] for label in labels], tf.gather(tokens, token, batch_dims=1))
    types = tf.where(count > 0, types, "")
    begin, inner, end, only = SCHEMES[scheme]
    prefix = tf.where(first, tf.where(last, only, begin), tf.where(last, end, inner))
    tags = tf.strings.join([prefix, tf.where(types == "", "", "-"), types])
    return tf.where(count > 0, tags, "O"), types, first, last
