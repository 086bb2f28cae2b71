"""Characters of texts as TensorFlow graph operations.

A batch of texts is one flat sequence of characters. Properties of characters (the normal form, whether it is white space) are
stored in tables over all code points, computed in Python, so that they do not depend on the Unicode version of an operation.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

__all__ = [
    "PROBED",
    "CharacterMap",
    "CharacterTable",
    "Characters",
    "byte_lengths",
    "compose",
    "decode",
    "encode",
    "firsts",
    "neighbours",
    "prepend",
    "squeeze",
    "strip",
]

#: Code points with separate entries; the others are unassigned (like U+3FFFF) or private (like U+E000).
PROBED = np.array([c for c in (*range(0x40000), *range(0xE0000, 0xE1000)) if not 0xD800 <= c < 0xE000])


class Characters(NamedTuple):
    """Concatenated characters of a batch of texts.

    Args:
        codes: int32 `[N]`, code points.
        text: int32 `[N]`, index of each character's text, ascending.
        source: int32 `[N]`, index of the character in the original text that each character comes from.
    """

    codes: tf.Tensor
    text: tf.Tensor
    source: tf.Tensor


class CharacterTable:
    """Table from code points to numbers.

    Args:
        values: integers `[len(PROBED)]`, one per code point of `PROBED`.
    """

    def __init__(self, values: np.ndarray):
        full = np.full(0x110000, values[np.searchsorted(PROBED, 0x3FFFF)], np.int32)
        full[PROBED] = values
        full[0xF0000:0xFFFFE] = full[0x100000:0x10FFFE] = full[0xE000]
        # Most pages of 256 code points are equal.
        numbers: dict[bytes, int] = {}
        page_of = [numbers.setdefault(page.tobytes(), len(numbers)) for page in full.reshape(-1, 256)]
        self._values = np.frombuffer(b"".join(numbers), np.int32)
        self._first = np.array(page_of, np.int32) * 256

    def __call__(self, codes: tf.Tensor) -> tf.Tensor:
        """Return the numbers of code points, int32 with the shape of `codes`."""
        return tf.gather(self._values, tf.gather(self._first, codes // 256) + codes % 256)


def decode(texts: tf.Tensor) -> Characters:
    """Return the characters of strings `[B]`."""
    codes = tf.strings.unicode_decode(texts, "UTF-8")
    source = tf.ragged.range(codes.row_lengths()).flat_values
    return Characters(codes.flat_values, tf.cast(codes.value_rowids(), tf.int32), tf.cast(source, tf.int32))


def encode(codes: tf.Tensor, group: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Return strings `[count]` made of the characters `codes [N]` of each group `[N]` (ascending)."""
    return tf.strings.unicode_encode(tf.RaggedTensor.from_value_rowids(codes, group, count), "UTF-8")


def byte_lengths(codes: tf.Tensor) -> tf.Tensor:
    """Return the number of UTF-8 bytes of each character: int32 `[N]`."""
    return 1 + sum(tf.cast(codes >= bound, tf.int32) for bound in (0x80, 0x800, 0x10000))


class CharacterMap:
    """Replacement of each character by zero, one or more characters.

    Args:
        outputs: replacement string of each code point of `PROBED`.
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
        """Return the replaced characters."""
        codes, text, source = characters
        rule = self._rule(codes)
        length = tf.gather(self._length, rule)
        owner = tf.repeat(tf.range(tf.size(codes)), length)
        within = tf.range(tf.size(owner)) - tf.gather(tf.cumsum(length, exclusive=True), owner)
        position = tf.minimum(tf.gather(tf.gather(self._start, rule), owner) + within, len(self._codes) - 1)
        mapped = tf.where(tf.gather(rule, owner) == 0, tf.gather(codes, owner), tf.gather(self._codes, position))
        return Characters(mapped, tf.gather(text, owner), tf.gather(source, owner))


def compose(characters: Characters, count: tf.Tensor, form: str) -> Characters:
    """Convert `count` texts to a composed Unicode form, `"NFC"` or `"NFKC"`.

    The source of a character composed of several is the first of them. If a ligature is followed by a mark that is composed
    with its last letter ("ǆ" and a dot below), the source of that letter may differ by one character from that in Python.
    """
    import tensorflow_text

    codes, text, source = characters
    # A line feed before each text avoids empty rows, which the operation with offsets cannot process.
    strings, offsets = tensorflow_text.normalize_utf8_with_offsets_map(tf.strings.join(["\n", encode(codes, text, count)]), form)
    composed, byte = tf.strings.unicode_decode_with_offsets(strings, "UTF-8")
    after = byte + tf.cast(byte.with_values(byte_lengths(composed.values)), tf.int64)
    spans = [tensorflow_text.find_source_offsets(offsets, at).values for at in (byte, after)]
    inside = byte.values > 0
    rows, codes_after, begin, end = (
        tf.cast(tf.boolean_mask(values, inside), tf.int32) for values in (composed.value_rowids(), composed.values, *spans)
    )
    # Convert bytes of each text to characters of the batch.
    first_byte = tf.cumsum(byte_lengths(codes), exclusive=True)
    base = tf.gather(first_byte, tf.searchsorted(text, rows)) - 1
    begin, end = tf.searchsorted(first_byte, base + begin), tf.searchsorted(first_byte, base + end)
    # If a run of characters becomes another run, its first character spans the whole original run, the others have no width.
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
    """Return which characters are the first of their text: bool `[N]`."""
    return tf.concat([[True], text[1:] != text[:-1]], 0)[: tf.size(text)]


def prepend(characters: Characters, code: int) -> Characters:
    """Insert a character before each text that is not empty and does not begin with it."""
    codes, text, source = characters
    begins = firsts(text) & (codes != code)
    owner = tf.repeat(tf.range(tf.size(codes)), 1 + tf.cast(begins, tf.int32))
    added = tf.concat([owner[1:] == owner[:-1], [False]], 0)[: tf.size(owner)]
    return Characters(tf.where(added, code, tf.gather(codes, owner)), tf.gather(text, owner), tf.gather(source, owner))


def strip(characters: Characters, count: tf.Tensor, signs: list[int], left: bool = True, right: bool = True) -> Characters:
    """Remove these characters at the beginning and at the end of texts."""
    others = tf.cast(~tf.reduce_any(characters.codes[:, None] == signs, -1), tf.int32)
    of_text = tf.math.unsorted_segment_sum(others, characters.text, count)
    before = tf.cumsum(others, exclusive=True) - tf.gather(tf.cumsum(of_text, exclusive=True), characters.text)
    after = tf.gather(of_text, characters.text) - before - others
    keep = (others > 0) | (((before > 0) | (not left)) & ((after > 0) | (not right)))
    return Characters(*(tf.boolean_mask(values, keep) for values in characters))


def squeeze(characters: Characters, count: tf.Tensor) -> Characters:
    """Replace each run of spaces by its last one."""
    codes, text, _ = characters
    _, after = neighbours(codes, text, 0)
    keep = (codes != ord(" ")) | (after != ord(" "))
    return Characters(*(tf.boolean_mask(values, keep) for values in characters))


def neighbours(values: tf.Tensor, text: tf.Tensor, edge: int, distance: int = 1) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the values of the characters before and after each one; `edge` beyond its text."""
    padding = tf.fill([tf.minimum(distance, tf.size(values))], tf.cast(edge, values.dtype))
    before, after = tf.concat([padding, values[:-distance]], 0), tf.concat([values[distance:], padding], 0)
    text_before, text_after = tf.concat([padding * 0 - 1, text[:-distance]], 0), tf.concat([text[distance:], padding * 0 - 1], 0)
    return tf.where(text_before == text, before, edge), tf.where(text_after == text, after, edge)
