"""Characters and words of texts as TensorFlow graph operations.

A batch of texts is held as one flat run of characters. What a character does (its normal form, whether it is white space)
stands in tables over all code points, made on the host, so that nothing depends on the Unicode version of an operation.
"""

import re
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import tensorflow as tf

__all__ = [
    "Characters",
    "CharacterMap",
    "CharacterTable",
    "decode",
    "compose",
    "gpt2_starts",
    "python_word_classes",
    "word_starts",
]

#: Kinds of characters: part of a word, white space, a word of its own, part of a word where one stands on both sides.
LETTER, SPACE, ALONE, JOINER = range(4)

#: Code points that are looked at one by one; the others are unassigned (as U+40000) or private (as U+F0000).
PROBED = np.array([c for c in (*range(0x40000), *range(0xE0000, 0xE1000)) if not 0xD800 <= c < 0xE000])


class Characters(NamedTuple):
    """Characters of a batch of texts, one after the other.

    Args:
        codes: int32 `[N]`, code points.
        text: int32 `[N]`, which text each is in, ascending.
        source: int32 `[N]`, which character of that text, as it was given, each comes from.
    """

    codes: tf.Tensor
    text: tf.Tensor
    source: tf.Tensor


class CharacterTable:
    """A number for each code point.

    Args:
        values: integers `[len(PROBED)]`, or `[0x110000]`.
    """

    def __init__(self, values: np.ndarray):
        if len(values) != 0x110000:
            full = np.full(0x110000, values[np.searchsorted(PROBED, 0x3FFFF)], values.dtype)
            full[PROBED] = values
            full[0xF0000:] = values[np.searchsorted(PROBED, 0xE000)]
            values = full
        pages, page_of = np.unique(values.astype(np.int32).reshape(-1, 256), axis=0, return_inverse=True)
        self._pages, self._page_of = pages, page_of.reshape(-1).astype(np.int32)

    def __call__(self, codes: tf.Tensor) -> tf.Tensor:
        return tf.gather_nd(self._pages, tf.stack([tf.gather(self._page_of, codes // 256), codes % 256], -1))


def decode(texts: tf.Tensor) -> Characters:
    """The characters of strings `[B]`."""
    codes = tf.strings.unicode_decode(texts, "UTF-8")
    source = tf.ragged.range(codes.row_lengths()).flat_values
    return Characters(codes.flat_values, tf.cast(codes.value_rowids(), tf.int32), tf.cast(source, tf.int32))


def encode(codes: tf.Tensor, group: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Strings `[count]` of the characters `codes [N]` of each group `[N]` (ascending)."""
    return tf.strings.unicode_encode(tf.RaggedTensor.from_value_rowids(codes, group, count), "UTF-8")


def byte_lengths(codes: tf.Tensor) -> tf.Tensor:
    """How many bytes of UTF-8 each character takes: int32 `[N]`."""
    return 1 + sum(tf.cast(codes >= bound, tf.int32) for bound in (0x80, 0x800, 0x10000))


class CharacterMap:
    """Replaces each character by none, one or more.

    Args:
        outputs: for each code point of `PROBED`, the string that takes its place.
    """

    def __init__(self, outputs: list[str]):
        rules = sorted({text for code, text in zip(PROBED.tolist(), outputs, strict=True) if text != chr(code)})
        number = {text: i + 1 for i, text in enumerate(rules)}
        self._rule = CharacterTable(
            np.array([number[text] if text != chr(code) else 0 for code, text in zip(PROBED.tolist(), outputs, strict=True)])
        )
        self._length = np.array([1, *map(len, rules)], np.int32)
        self._start = np.cumsum([0, 0, *map(len, rules)], dtype=np.int32)[: len(rules) + 1]
        self._codes = np.array([ord(c) for text in rules for c in text] or [0], np.int32)

    def __call__(self, characters: Characters) -> Characters:
        codes, text, source = characters
        rule = self._rule(codes)
        length = tf.gather(self._length, rule)
        owner = tf.repeat(tf.range(tf.size(codes)), length)
        within = tf.range(tf.size(owner)) - tf.gather(tf.cumsum(length, exclusive=True), owner)
        position = tf.minimum(tf.gather(tf.gather(self._start, rule), owner) + within, len(self._codes) - 1)
        mapped = tf.where(tf.gather(rule, owner) == 0, tf.gather(codes, owner), tf.gather(self._codes, position))
        return Characters(mapped, tf.gather(text, owner), tf.gather(source, owner))


def compose(characters: Characters, form: str, count: tf.Tensor) -> Characters:
    """Brings `count` texts to a Unicode form in which characters are composed, `"NFC"` or `"NFKC"`."""
    import tensorflow_text

    codes, text, source = characters
    strings, offsets = tensorflow_text.normalize_utf8_with_offsets_map(encode(codes, text, count), form)
    composed, byte = tf.strings.unicode_decode_with_offsets(strings, "UTF-8")
    codes_after, rows = composed.flat_values, tf.cast(composed.value_rowids(), tf.int32)
    after = byte + tf.cast(byte.with_values(byte_lengths(codes_after)), tf.int64)
    # Bytes before the normalisation, as characters of the batch.
    first_byte = tf.cumsum(byte_lengths(codes), exclusive=True)
    base = tf.gather(tf.concat([first_byte, [tf.reduce_sum(byte_lengths(codes))]], 0), tf.searchsorted(text, rows))
    begin, end = (
        tf.searchsorted(first_byte, base + tf.cast(tensorflow_text.find_source_offsets(offsets, at).flat_values, tf.int32))
        for at in (byte, after)
    )
    # A run of characters that became another run: its first sign spans the run before, the others have no width.
    tail = begin == end
    run = tf.cumsum(tf.cast(~tail, tf.int32)) - 1
    heads = tf.boolean_mask(tf.range(tf.size(run)), ~tail)
    head = tf.gather(heads, run)
    size = tf.gather(tf.math.bincount(run), run)
    first, last = tf.gather(begin, head), tf.gather(end, head) - 1
    place = tf.range(tf.size(run)) - head
    index = tf.where(place == 0, first, tf.clip_by_value(last + 1 - size + place, first, last))
    return Characters(codes_after, rows, tf.gather(source, index))


def word_starts(kinds: tf.Tensor, text: tf.Tensor) -> tf.Tensor:
    """Which characters begin a word, by their kinds (`LETTER`, `SPACE`, `ALONE`, `JOINER`): bool `[N]`."""
    before, after = _neighbours(kinds, text, SPACE)
    joins = (kinds == JOINER) & (before == LETTER) & (after == LETTER)
    kinds = tf.where(joins, LETTER, tf.where(kinds == JOINER, ALONE, kinds))
    before, _ = _neighbours(kinds, text, SPACE)
    return (kinds == ALONE) | ((kinds == LETTER) & (before != LETTER))


def _neighbours(values: tf.Tensor, text: tf.Tensor, edge: int, distance: int = 1) -> tuple[tf.Tensor, tf.Tensor]:
    """The values of the characters before and after each one, `edge` beyond its text."""
    padding = tf.fill([tf.minimum(distance, tf.size(values))], tf.cast(edge, values.dtype))
    before, after = tf.concat([padding, values[:-distance]], 0), tf.concat([values[distance:], padding], 0)
    text_before, text_after = tf.concat([padding * 0 - 1, text[:-distance]], 0), tf.concat([text[distance:], padding * 0 - 1], 0)
    return tf.where(text_before == text, before, edge), tf.where(text_after == text, after, edge)


#: Kinds of characters for GPT-2's split; `EDGE` is no character.
GPT2_SPACE, GPT2_LETTER, GPT2_NUMBER, GPT2_OTHER, EDGE = range(5)


def gpt2_starts(codes: tf.Tensor, kinds: tf.Tensor, text: tf.Tensor) -> tf.Tensor:
    """Which characters begin a piece of GPT-2's split: bool `[N]`.

    A piece is one of `'s 't 're 've 'm 'll 'd`, a run of letters, of numbers or of other signs, each with the one blank
    before it, or white space (without its last character where something follows).
    """
    before, after = _neighbours(kinds, text, EDGE)
    code_before, next_code = _neighbours(codes, text, 0)
    _, second_code = _neighbours(codes, text, 0, 2)
    changes = kinds != before
    last_space = (after != GPT2_SPACE) & (after != EDGE)
    starts = tf.where(kinds == GPT2_SPACE, changes | last_space, changes & (code_before != ord(" ")))
    apostrophe = starts & (codes == ord("'"))
    one = apostrophe & tf.reduce_any(next_code[:, None] == [ord(c) for c in "stmd"], -1)
    two = [(next_code == ord(a)) & (second_code == ord(b)) for a, b in ("re", "ve", "ll")]
    # The letters of a contraction begin nothing; what follows them does.
    for contraction, length in ((one, 2), (apostrophe & tf.reduce_any(two, 0), 3)):
        flags = [_neighbours(tf.cast(contraction, tf.int32), text, 0, distance)[0] == 1 for distance in range(1, length + 1)]
        starts = (starts & ~tf.reduce_any(flags[:-1], 0)) | flags[-1]
    return starts


@lru_cache(maxsize=1)
def python_word_kinds() -> np.ndarray:
    """The kinds of `PROBED` characters for `split_words`: uint8."""
    kinds = np.full(len(PROBED), ALONE, np.uint8)
    for i, code in enumerate(PROBED.tolist()):
        sign = chr(code)
        if sign in "-'’/.:":
            kinds[i] = JOINER
        elif len(split_words(sign)) == 0:
            kinds[i] = SPACE
        elif len(split_words(sign * 2)) == 1:
            kinds[i] = LETTER
    return kinds


def word_spans(texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
    """The words of `split_words` of strings `[B]`: their starts and ends in characters, int32 `[B, (words)]`."""
    characters = decode(texts)
    kinds = CharacterTable(python_word_kinds())(characters.codes)
    word = keep_words(characters, kinds != SPACE, word_starts(kinds, characters.text))
    count = tf.size(texts)
    return tuple(tf.RaggedTensor.from_value_rowids(v, word.text, count) for v in (word.starts, word.ends))
