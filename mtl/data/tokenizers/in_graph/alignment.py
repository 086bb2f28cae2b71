"""Alignment of words and tokens as TensorFlow graph operations."""

from collections.abc import Mapping

import tensorflow as tf

__all__ = ["align_words", "own_characters", "running_clip"]

LEAST, MOST = tf.int32.min // 2, tf.int32.max // 2


def align_words(
    tokens: Mapping[str, tf.Tensor], word_starts: tf.RaggedTensor, word_ends: tf.RaggedTensor
) -> dict[str, tf.Tensor]:
    """Return the index of the token at which each word is read; `Encoding.word_tokens` for a batch.

    Args:
        tokens: int32 `[B, S]` each, S at least 1: `starts` and `ends` in characters, -1 for none, and `segment_ids`.
        word_starts: int32 `[B, (words)]`, in order, not overlapping.
        word_ends: ends of the words, in the same form.

    Returns:
        int32 `[B, W]` each: `word_starts` and `word_ends`, -1 beyond a text's words, and `word_tokens`, -1 for a word without a
        token; and int32 `[B, S]` each: `word_mask`, 1 at the tokens where words are read, and `token_mask`, 1 at the tokens of
        `own_characters`.

    Example:

    >>> tokens = {"starts": [[0, 4, 8]], "ends": [[3, 7, 9]], "segment_ids": [[0, 0, 0]]}
    >>> words = tf.ragged.constant([[0, 8, 20]]), tf.ragged.constant([[7, 9, 22]])
    >>> aligned = align_words({name: tf.constant(value) for name, value in tokens.items()}, *words)
    >>> aligned["word_tokens"].numpy().tolist(), aligned["word_mask"].numpy().tolist()
    ([[0, 2, -1]], [[1, 0, 1]])
    """
    starts, ends = tokens["starts"], tokens["ends"]
    rows, length = tf.unstack(tf.shape(starts))
    inside = (tokens["segment_ids"] == 0) & (starts >= 0) & (ends > starts)
    # One more column of words and one more token with characters, so that neither is empty.
    one = [[0, 0], [0, 1]]
    starts, ends, place = (
        tf.pad(tf.ragged.boolean_mask(x, inside).to_tensor(MOST), one, constant_values=MOST)
        for x in (starts, ends, tf.zeros_like(starts) + tf.range(length))
    )
    starts, ends = (running_clip(x, tf.fill(tf.shape(x), MOST)) for x in (starts, ends))
    word_starts, word_ends = (tf.pad(x.to_tensor(-1), one, constant_values=-1) for x in (word_starts, word_ends))
    first = tf.searchsorted(ends, word_starts, side="right")
    last = tf.searchsorted(starts, word_ends, side="left") - 1
    there = first <= last
    # token[w] - w is token[w - 1] - (w - 1), clipped, where w counts the words that have tokens.
    number = tf.cumsum(tf.cast(there, tf.int32), axis=1)
    token = number + running_clip(tf.where(there, first - number, LEAST), tf.where(there, last - number, MOST))
    token = tf.where(there, tf.gather(place, tf.where(there, token, 0), batch_dims=1), -1)
    cell = tf.where(there, tf.range(rows)[:, None] * length + token, -1)
    count = tf.math.unsorted_segment_sum(tf.cast(there, tf.int32), cell, rows * length)
    mask = tf.cast(tf.reshape(count, [rows, length]) > 0, tf.int32)
    words = {"word_starts": word_starts, "word_ends": word_ends, "word_tokens": token}
    return {
        **{name: value[:, :-1] for name, value in words.items()},
        "word_mask": mask,
        "token_mask": tf.cast(_own(tokens)[0], tf.int32),
    }


def own_characters(tokens: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return the tokens that cover characters which no earlier token covers; `Encoding.own_characters` for a batch.

    Args:
        tokens: see `align_words`.

    Returns:
        int32 `[B, N]` each, -1 beyond a row's end: the tokens' indices, and the starts and ends of these characters.

    Example:

    >>> tokens = {"starts": [[-1, 0, 0, 1]], "ends": [[-1, 1, 1, 3]], "segment_ids": [[0, 0, 0, 0]]}
    >>> found = own_characters({name: tf.constant(value) for name, value in tokens.items()})
    >>> [value.numpy().tolist() for value in found]
    [[[1, 3]], [[0, 1]], [[1, 3]]]
    """
    own, starts = _own(tokens)
    positions = tf.zeros_like(starts) + tf.range(tf.shape(starts)[1])
    positions, starts, ends = (tf.ragged.boolean_mask(x, own).to_tensor(-1) for x in (positions, starts, tokens["ends"]))
    return positions, starts, ends


def _own(tokens: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
    """Return whether each token covers characters which no earlier token covers, and where these start, `[B, S]`."""
    starts, ends = tokens["starts"], tokens["ends"]
    there = (tokens["segment_ids"] == 0) & (starts >= 0) & (ends > starts)
    reached = running_clip(tf.where(there, ends, 0), tf.fill(tf.shape(ends), MOST))
    starts = tf.maximum(starts, tf.concat([tf.zeros_like(ends[:, :1]), reached[:, :-1]], 1))
    return there & (ends > starts), starts


def running_clip(lower: tf.Tensor, upper: tf.Tensor) -> tf.Tensor:
    """Return `v[n] = min(upper[n], max(lower[n], v[n - 1]))` along rows, where `v[-1]` is the least number.

    Args:
        lower: int32 `[B, N]`; without an upper limit, the result is their running maximum.
        upper: int32 `[B, N]`, at least `lower`.

    Example:

    >>> running_clip(tf.constant([[3, 1, 5, 0]]), tf.constant([[9, 2, 9, 9]])).numpy().tolist()
    [[3, 2, 5, 5]]
    """
    length = tf.shape(lower)[1]

    def double(distance: tf.Tensor, lower: tf.Tensor, upper: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Compose each clip with the one `distance` before it.

        Both are one clip: `clip(clip(v, a, b), c, d) = clip(v, clip(a, c, d), clip(b, c, d))`, since clipping is monotonic and so
        commutes with a minimum or maximum.
        """
        padding = [[0, 0], [distance, 0]]
        before = tf.pad(lower[:, :-distance], padding, constant_values=LEAST)
        limit = tf.pad(upper[:, :-distance], padding, constant_values=MOST)
        clipped = (tf.minimum(upper, tf.maximum(lower, value)) for value in (before, limit))
        return (2 * distance, *clipped)

    shapes = [tf.TensorShape([]), tf.TensorShape([None, None]), tf.TensorShape([None, None])]
    return tf.while_loop(lambda distance, *_: distance < length, double, [tf.constant(1), lower, upper], shapes)[1]
