"""Splitting of texts into words as TensorFlow graph operations."""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from mtl.data.example import split_words
from mtl.data.tokenizers.in_graph.text import PROBED, Characters, CharacterTable, decode, encode, neighbours

__all__ = ["SPACE", "Words", "character_kinds", "gpt2_starts", "split", "word_spans", "word_starts"]

#: Kinds of characters: part of a word, white space, a separate word, part of a word if between two parts of it.
LETTER, SPACE, ALONE, JOINER = range(4)


def word_starts(kinds: tf.Tensor, text: tf.Tensor) -> tf.Tensor:
    """Return which characters begin a word, by their kinds (`LETTER`, `SPACE`, `ALONE`, `JOINER`): bool `[N]`."""
    before, after = neighbours(kinds, text, SPACE)
    joins = (kinds == JOINER) & (before == LETTER) & (after == LETTER)
    kinds = tf.where(joins, LETTER, tf.where(kinds == JOINER, ALONE, kinds))
    before, _ = neighbours(kinds, text, SPACE)
    return (kinds == ALONE) | ((kinds == LETTER) & (before != LETTER))


#: Kinds of characters in GPT-2's split; `EDGE` means no character.
GPT2_SPACE, GPT2_LETTER, GPT2_NUMBER, GPT2_OTHER, EDGE = range(5)


def gpt2_starts(codes: tf.Tensor, kinds: tf.Tensor, text: tf.Tensor) -> tf.Tensor:
    """Return which characters begin a piece of GPT-2's split: bool `[N]`.

    A piece is one of `'s 't 're 've 'm 'll 'd`; a run of letters, of numbers or of other characters, including one space before
    it; or a run of white space (without its last character if text follows).
    """
    before, after = neighbours(kinds, text, EDGE)
    code_before, next_code = neighbours(codes, text, 0)
    _, second_code = neighbours(codes, text, 0, 2)
    changes = kinds != before
    last_space = (after != GPT2_SPACE) & (after != EDGE)
    starts = tf.where(kinds == GPT2_SPACE, changes | last_space, changes & (code_before != ord(" ")))
    apostrophe = starts & (codes == ord("'"))
    one = apostrophe & tf.reduce_any(next_code[:, None] == [ord(c) for c in "stmd"], -1)
    two = [(next_code == ord(a)) & (second_code == ord(b)) for a, b in ("re", "ve", "ll")]
    # The letters of a contraction begin no piece; the character after them does.
    for contraction, length in ((one, 2), (apostrophe & tf.reduce_any(two, 0), 3)):
        flags = [neighbours(tf.cast(contraction, tf.int32), text, 0, distance)[0] == 1 for distance in range(1, length + 1)]
        starts = (starts & ~tf.reduce_any(flags[:-1], 0)) | flags[-1]
    return starts


def character_kinds(splitter: Callable[[str], list[tuple[int, int]]]) -> np.ndarray:
    """Return the kinds of the `PROBED` characters, derived from how a function splits texts into words: uint8."""
    signs = [chr(code) for code in PROBED.tolist()]
    kinds = np.choose(_widths(splitter, [sign * 2 for sign in signs]), [SPACE, ALONE, LETTER]).astype(np.uint8)
    alone = np.flatnonzero(kinds == ALONE)
    kinds[alone[_widths(splitter, [f"a{signs[i]}a" for i in alone]) == 3]] = JOINER
    return kinds


def _widths(splitter: Callable[[str], list[tuple[int, int]]], units: list[str]) -> np.ndarray:
    """Return the length of the first word of each of equally long texts, 0 for none."""
    result: list[np.ndarray] = []
    for i in range(0, len(units), 256):  # one long text would be split more slowly
        text = "\n".join(units[i : i + 256])
        spans = np.array(splitter(text), np.int64).reshape(-1, 2)
        widths = np.zeros(len(text), np.int64)
        widths[spans[:, 0]] = spans[:, 1] - spans[:, 0]
        result.append(widths[:: len(units[0]) + 1])
    return np.concatenate(result)


class Words(NamedTuple):
    """Concatenated words of a batch of texts.

    Args:
        strings: `[W]`.
        text: int32 `[W]`, index of each word's text, ascending.
        characters: characters of all words, without those between words.
        first: int32 `[W]`, index of each word's first character in `characters`.
        length: int32 `[W]`, number of characters per word.
    """

    strings: tf.Tensor
    text: tf.Tensor
    characters: Characters
    first: tf.Tensor
    length: tf.Tensor


def split(characters: Characters, keep: tf.Tensor, starts: tf.Tensor) -> Words:
    """Split the characters to keep into words, each from one start `[N]` to the next."""
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
    """Return the words of `split_words`, computed in a graph.

    Args:
        texts: strings `[B]`.

    Returns:
        Starts and ends of the words in characters, int32 `[B, (words)]`.

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
