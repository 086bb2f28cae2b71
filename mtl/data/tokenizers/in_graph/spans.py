"""The spans that tags spell as TensorFlow graph operations."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from mtl.data.spans import split_tag

__all__ = ["span_edges"]


def span_edges(ids: tf.Tensor, labels: Sequence[str]) -> tuple[tf.Tensor, tf.Tensor]:
    """Where spans begin and end; `spans_of_tags` for a batch.

    Args:
        ids: int32 `[B, N]`, tags as indices of `labels`.
        labels: tags of BIO, IOB1 or BIOES.

    Returns:
        bool `[B, N]` twice: whether a position is the first, and whether it is the last, of a span. A row has as many of the
        one as of the other.

    Example:

    >>> first, last = span_edges(tf.constant([[1, 2, 0, 1]]), ["O", "B-X", "I-X"])
    >>> first.numpy().astype(int).tolist(), last.numpy().astype(int).tolist()
    ([[1, 0, 0, 1]], [[0, 1, 0, 1]])
    """
    prefixes, types = zip(*map(split_tag, labels), strict=True)
    outside, opens, closes = (tf.gather(np.isin(prefixes, list(signs)), ids) for signs in ("O", "BS", "OES"))
    kind = tf.gather(np.unique(types, return_inverse=True)[1], ids)
    edge = tf.ones_like(outside[:, :1])
    after_close = tf.concat([edge, closes[:, :-1]], 1)
    new_kind = tf.concat([edge, kind[:, 1:] != kind[:, :-1]], 1)
    first = ~outside & (opens | after_close | new_kind)
    return first, ~outside & tf.concat([(outside | first)[:, 1:], edge], 1)
