"""Words and their tokens, side by side, as TensorFlow graph operations."""

from collections.abc import Mapping

import tensorflow as tf

__all__ = ["align_words"]


def align_words(
    tokens: Mapping[str, tf.Tensor], word_starts: tf.RaggedTensor, word_ends: tf.RaggedTensor
) -> dict[str, tf.Tensor]:
    """Which token each word begins at; `Encoding.first_tokens` for a batch.

    Args:
        tokens: int32 `[B, S]` each, S at least 1: `starts` and `ends` in characters, -1 for none, and `segment_ids`.
        word_starts: int32 `[B, (words)]`, in order, not overlapping.
        word_ends: the same for their ends.

    Returns:
        int32 `[B, W]` each: `word_starts` and `word_ends`, -1 beyond a text's words, and `first_tokens`, -1 for a word without
        one; and `word_mask [B, S]`, 1 at words' first tokens.

    Example:

    >>> tokens = {"starts": [[0, 4, 8]], "ends": [[3, 7, 9]], "segment_ids": [[0, 0, 0]]}
    >>> words = tf.ragged.constant([[0, 8, 20]]), tf.ragged.constant([[7, 9, 22]])
    >>> aligned = align_words({name: tf.constant(value) for name, value in tokens.items()}, *words)
    >>> aligned["first_tokens"].numpy().tolist(), aligned["word_mask"].numpy().tolist()
    ([[0, 2, -1]], [[1, 0, 1]])
    """
    starts, ends = tokens["starts"], tokens["ends"]
    # One column more than there are words, so that there is always one.
    beyond = [[0, 0], [0, 1]]
    firsts = tf.pad(word_starts.to_tensor(tf.int32.max), beyond, constant_values=tf.int32.max)
    lasts = tf.pad(word_ends.to_tensor(tf.int32.max), beyond, constant_values=tf.int32.max)
    rows, columns = tf.unstack(tf.shape(firsts))
    word = tf.searchsorted(firsts, ends - 1, side="right") - 1
    index = tf.maximum(word, 0)
    inside = (tokens["segment_ids"] == 0) & (starts >= 0) & (ends > starts) & (word >= 0)
    inside &= starts < tf.gather(lasts, index, batch_dims=1)
    position = tf.zeros_like(starts) + tf.range(tf.shape(starts)[1])
    cell = tf.where(inside, tf.range(rows)[:, None] * columns + index, -1)
    first = tf.reshape(tf.math.unsorted_segment_min(position, cell, rows * columns), [rows, columns])
    mask = inside & (position == tf.gather(first, index, batch_dims=1))
    return {
        "word_starts": word_starts.to_tensor(-1),
        "word_ends": word_ends.to_tensor(-1),
        "first_tokens": tf.where(first < tf.shape(starts)[1], first, -1)[:, :-1],
        "word_mask": tf.cast(mask, tf.int32),
    }
