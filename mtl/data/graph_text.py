"""Characters and words of texts as TensorFlow graph operations.

A batch of texts is held as one flat run of characters. What a character does (its normal form, whether it is white space)
stands in tables over all code points, made on the host, so that nothing depends on the Unicode version of an operation.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from mtl.data.example import split_words

__all__ = [
    "PROBED",
    "SPACE",
    "CharacterMap",
    "CharacterTable",
    "Characters",
    "Words",
    "byte_lengths",
    "character_kinds",
    "compose",
    "decode",
    "firsts",
    "gpt2_starts",
    "prepend",
    "split",
    "squeeze",
    "strip",
    "word_spans",
    "word_starts",
]

#: Kinds of characters: part of a word, white space, a word of its own, part of a word where one stands on both sides.
LETTER, SPACE, ALONE, JOINER = range(4)

#: Code points that are looked at one by one; the others are unassigned (as U+3FFFF is) or private (as U+E000 is).
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
            full[0xF0000:0xFFFFE] = full[0x100000:0x10FFFE] = full[0xE000]
            values = full
        # Most pages of 256 code points are alike.
        numbers: dict[bytes, int] = {}
        page_of = [numbers.setdefault(page.tobytes(), len(numbers)) for page in values.astype(np.int32).reshape(-1, 256)]
        self._values = np.frombuffer(b"".join(numbers), np.int32)
        self._first = np.array(page_of, np.int32) * 256

    def __call__(self, codes: tf.Tensor) -> tf.Tensor:
        return tf.gather(self._values, tf.gather(self._first, codes // 256) + codes % 256)


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


def compose(characters: Characters, count: tf.Tensor, form: str) -> Characters:
    """Brings `count` texts to a Unicode form in which characters are composed, `"NFC"` or `"NFKC"`."""
    import tensorflow_text

    codes, text, source = characters
    # The line feed before each text keeps rows from being empty, which the offsets' operation cannot take.
    strings, offsets = tensorflow_text.normalize_utf8_with_offsets_map(tf.strings.join(["\n", encode(codes, text, count)]), form)
    composed, byte = tf.strings.unicode_decode_with_offsets(strings, "UTF-8")
    after = byte + tf.cast(byte.with_values(byte_lengths(composed.values)), tf.int64)
    spans = [tensorflow_text.find_source_offsets(offsets, at).values for at in (byte, after)]
    inside = byte.values > 0
    rows, codes_after, begin, end = (
        tf.cast(tf.boolean_mask(values, inside), tf.int32) for values in (composed.value_rowids(), composed.values, *spans)
    )
    # Bytes of each text -> characters of the batch.
    first_byte = tf.cumsum(byte_lengths(codes), exclusive=True)
    base = tf.gather(first_byte, tf.searchsorted(text, rows)) - 1
    begin, end = tf.searchsorted(first_byte, base + begin), tf.searchsorted(first_byte, base + end)
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


def firsts(text: tf.Tensor) -> tf.Tensor:
    """Which characters are the first of their text: bool `[N]`."""
    return tf.concat([[True], text[1:] != text[:-1]], 0)[: tf.size(text)]


def prepend(characters: Characters, code: int) -> Characters:
    """Puts a sign before each text that has characters and does not begin with it."""
    codes, text, source = characters
    begins = firsts(text) & (codes != code)
    owner = tf.repeat(tf.range(tf.size(codes)), 1 + tf.cast(begins, tf.int32))
    added = tf.concat([owner[1:] == owner[:-1], [False]], 0)[: tf.size(owner)]
    return Characters(tf.where(added, code, tf.gather(codes, owner)), tf.gather(text, owner), tf.gather(source, owner))


def strip(characters: Characters, count: tf.Tensor, signs: list[int], left: bool = True, right: bool = True) -> Characters:
    """Drops these signs at the beginning and at the end of texts."""
    others = tf.cast(~tf.reduce_any(characters.codes[:, None] == signs, -1), tf.int32)
    of_text = tf.math.unsorted_segment_sum(others, characters.text, count)
    before = tf.cumsum(others, exclusive=True) - tf.gather(tf.cumsum(of_text, exclusive=True), characters.text)
    after = tf.gather(of_text, characters.text) - before - others
    keep = (others > 0) | (((before > 0) | (not left)) & ((after > 0) | (not right)))
    return Characters(*(tf.boolean_mask(values, keep) for values in characters))


def squeeze(characters: Characters, count: tf.Tensor) -> Characters:
    """Leaves the last of several blanks."""
    codes, text, _ = characters
    _, after = _neighbours(codes, text, 0)
    keep = (codes != ord(" ")) | (after != ord(" "))
    return Characters(*(tf.boolean_mask(values, keep) for values in characters))


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


def character_kinds(split: Callable[[str], list[tuple[int, int]]]) -> np.ndarray:
    """The kinds of the `PROBED` characters, seen from how a function splits texts into words: uint8."""
    signs = [chr(code) for code in PROBED.tolist()]
    kinds = np.choose(_widths(split, [sign * 2 for sign in signs]), [SPACE, ALONE, LETTER]).astype(np.uint8)
    alone = np.flatnonzero(kinds == ALONE)
    kinds[alone[_widths(split, [f"a{signs[i]}a" for i in alone]) == 3]] = JOINER
    return kinds


def _widths(split: Callable[[str], list[tuple[int, int]]], units: list[str]) -> np.ndarray:
    """The length of the word that each of equally long texts begins with, 0 for none."""
    result: list[np.ndarray] = []
    for i in range(0, len(units), 256):  # splitting one long text takes time by the square of its length
        text = "\n".join(units[i : i + 256])
        spans = np.array(split(text), np.int64).reshape(-1, 2)
        widths = np.zeros(len(text), np.int64)
        widths[spans[:, 0]] = spans[:, 1] - spans[:, 0]
        result.append(widths[:: len(units[0]) + 1])
    return np.concatenate(result)


class Words(NamedTuple):
    """Words of a batch of texts, one after the other.

    Args:
        strings: `[W]`.
        text: int32 `[W]`, which text each is in, ascending.
        characters: the characters of all words, without what stands between words.
        first: int32 `[W]`, where in `characters` each word begins.
        length: int32 `[W]`, how many characters each has.
    """

    strings: tf.Tensor
    text: tf.Tensor
    characters: Characters
    first: tf.Tensor
    length: tf.Tensor


def split(characters: Characters, keep: tf.Tensor, starts: tf.Tensor) -> Words:
    """Words of the characters that are kept, each from one start `[N]` to the next."""
    characters = Characters(*(tf.boolean_mask(values, keep) for values in characters))
    starts = tf.boolean_mask(starts, keep)
    word = tf.cumsum(tf.cast(starts, tf.int32)) - 1
    first = tf.cast(tf.boolean_mask(tf.range(tf.size(word)), starts), tf.int32)
    length = tf.math.bincount(word, minlength=tf.size(first))
    strings = encode(characters.codes, word, tf.size(first))
    return Words(strings, tf.gather(characters.text, first), characters, first, length)


@lru_cache(maxsize=1)
def _kinds_of_split_words() -> np.ndarray:
    return character_kinds(lambda text: list(split_words(text)))


def word_spans(texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
    """The words of `split_words` in a graph.

    Args:
        texts: strings `[B]`.

    Returns:
        The words' starts and ends in characters, int32 `[B, (words)]`.

    Example:

    >>> starts, ends = word_spans(tf.constant(["I'm in 北京"]))
    >>> starts.to_list(), ends.to_list()
    ([[0, 4, 7, 8]], [[3, 6, 8, 9]])
    """
    characters = decode(texts)
    kinds = CharacterTable(_kinds_of_split_words())(characters.codes)
    words = split(characters, kinds != SPACE, word_starts(kinds, characters.text))
    starts = tf.gather(words.characters.source, words.first)
    rows = [tf.RaggedTensor.from_value_rowids(values, words.text, tf.size(texts)) for values in (starts, starts + words.length)]
    return rows[0], rows[1]
