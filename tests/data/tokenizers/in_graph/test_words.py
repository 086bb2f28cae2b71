import random
from functools import cache

import numpy as np
import pytest
import regex  # type: ignore[import-untyped]
import tensorflow as tf

from mtl.data.example import split_words
from mtl.data.tokenizers.in_graph.text import PROBED, CharacterTable, decode
from mtl.data.tokenizers.in_graph.words import SPACE, character_kinds, gpt2_starts, split, word_spans, word_starts
from tests.data.texts import NASTY

GPT2 = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")


def mixed() -> list[str]:
    """Short texts of signs that matter to word boundaries."""
    letters = random.Random(0)
    signs = ["a", "b", "'s", "'re", "'ll", "'", " ", "\n", "\t", "1", "-", ".", "é", "北", "!", "\u0301", "\u3000", "२"]
    return ["".join(letters.choices(signs, k=letters.randint(0, 9))) for _ in range(3000)]


@pytest.mark.parametrize("texts", [NASTY, mixed(), [""]], ids=["nasty", "mixed", "empty"])
def test_words_of_split_words(texts: list[str]) -> None:
    starts, ends = word_spans(tf.constant(texts))
    assert starts.dtype == ends.dtype == tf.int32
    spans = [list(zip(*row, strict=True)) for row in zip(starts.to_list(), ends.to_list(), strict=True)]
    assert spans == [list(split_words(text)) for text in texts]


@cache
def gpt2_kinds() -> np.ndarray:
    patterns = [r"\s", r"\p{L}", r"\p{N}"]
    return np.array([next((k for k, p in enumerate(patterns) if regex.match(p, chr(c))), 3) for c in PROBED.tolist()])


@pytest.mark.parametrize("texts", [NASTY, mixed()], ids=["nasty", "mixed"])
def test_pieces_of_gpt2(texts: list[str]) -> None:
    # Signs that one of the two libraries does not know yet are left out.
    texts = [text for text in texts if "\u0378" not in text]
    characters = decode(tf.constant(texts))
    starts = gpt2_starts(characters.codes, CharacterTable(gpt2_kinds())(characters.codes), characters.text)
    rows = tf.RaggedTensor.from_value_rowids(starts, characters.text, len(texts)).to_list()
    assert [[i for i, start in enumerate(row) if start] for row in rows] == [[m.start() for m in GPT2.finditer(t)] for t in texts]


def test_kinds_are_seen_from_a_function() -> None:
    kinds = character_kinds(lambda text: [m.span() for m in regex.finditer(r"[a-z]+(?:_[a-z]+)*|[^\sa-z]", text)])
    of = dict(zip(PROBED.tolist(), kinds.tolist(), strict=True))
    assert [of[ord(sign)] for sign in "az \n1_北"] == [0, 0, 1, 1, 2, 3, 2]


def test_split() -> None:
    characters = decode(tf.constant(["ab, c", "", " d"]))
    kinds = CharacterTable(character_kinds(lambda text: list(split_words(text))))(characters.codes)
    words = split(characters, kinds != SPACE, word_starts(kinds, characters.text))
    assert words.strings.numpy().tolist() == [b"ab", b",", b"c", b"d"]
    assert words.text.numpy().tolist() == [0, 0, 0, 2]
    assert words.first.numpy().tolist() == [0, 2, 3, 4]
    assert words.length.numpy().tolist() == [2, 1, 1, 1]
    assert words.characters.source.numpy().tolist() == [0, 1, 2, 4, 1]
