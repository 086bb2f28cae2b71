import re
import unicodedata
from typing import Literal

import numpy as np
import pytest
import tensorflow as tf

from mtl.data.tokenizers.in_graph.text import (
    PROBED,
    CharacterMap,
    Characters,
    CharacterTable,
    byte_lengths,
    compose,
    decode,
    encode,
    firsts,
    neighbours,
    prepend,
    squeeze,
    strip,
)
from tests.data.texts import NASTY

COUNT = tf.constant(len(NASTY))


def texts_of(characters: Characters, count: int = len(NASTY)) -> list[str]:
    return [text.decode() for text in encode(characters.codes, characters.text, tf.constant(count)).numpy()]


def test_decode_and_encode() -> None:
    characters = decode(tf.constant(NASTY))
    assert characters.codes.numpy().tolist() == [ord(sign) for text in NASTY for sign in text]
    assert characters.text.numpy().tolist() == [i for i, text in enumerate(NASTY) for _ in text]
    assert characters.source.numpy().tolist() == [i for text in NASTY for i in range(len(text))]
    assert texts_of(characters) == NASTY
    assert byte_lengths(characters.codes).numpy().tolist() == [len(sign.encode()) for text in NASTY for sign in text]


def test_table() -> None:
    table = CharacterTable(np.array([unicodedata.category(chr(code)) == "Lu" for code in PROBED.tolist()]))
    codes = [*range(0x3000), 0x10400, 0x3FFFF, 0x50000, 0xE0100, 0xF0000, 0x10FFFF]
    assert table(tf.constant(codes)).numpy().tolist() == [int(unicodedata.category(chr(code)) == "Lu") for code in codes]


def test_map() -> None:
    outputs = {"a": "", "b": "xyz", "ß": "ss", "c": "北"}
    mapping = CharacterMap([outputs.get(chr(code), chr(code)) for code in PROBED.tolist()])
    mapped = mapping(decode(tf.constant(["", "aß", "", "bca d", "aa"])))
    assert texts_of(mapped, 5) == ["", "ss", "", "xyz北 d", ""]
    assert mapped.text.numpy().tolist() == [1, 1, 3, 3, 3, 3, 3, 3]
    assert mapped.source.numpy().tolist() == [1, 1, 0, 0, 0, 1, 3, 4]


@pytest.mark.parametrize("form", ["NFC", "NFKC"])
def test_compose(form: Literal["NFC", "NFKC"]) -> None:
    composed = compose(decode(tf.constant(NASTY)), COUNT, form)
    assert texts_of(composed) == [unicodedata.normalize(form, text) for text in NASTY]


def test_sources_of_composed_characters() -> None:
    texts = ["", "e\u0301x", "ﬁx", "", "½", "각x", "ｶﾞx", ""]
    composed = compose(decode(tf.constant(texts)), tf.constant(len(texts)), "NFKC")
    rows = tf.RaggedTensor.from_value_rowids(composed.source, composed.text, len(texts)).to_list()
    assert rows == [[], [0, 2], [0, 0, 1], [], [0, 0, 0], [0, 1], [0, 2], []]


def test_prepend() -> None:
    result = prepend(decode(tf.constant(["", "ab", " c"])), ord(" "))
    assert texts_of(result, 3) == ["", " ab", " c"]
    assert result.source.numpy().tolist() == [0, 0, 1, 0, 1]


@pytest.mark.parametrize(("left", "right", "method"), [(True, True, "strip"), (True, False, "lstrip"), (False, True, "rstrip")])
def test_strip(left: bool, right: bool, method: str) -> None:
    stripped = strip(decode(tf.constant(NASTY)), COUNT, [ord(c) for c in " \n\t"], left, right)
    assert texts_of(stripped) == [getattr(text, method)(" \n\t") for text in NASTY]


def test_squeeze() -> None:
    squeezed = squeeze(decode(tf.constant(NASTY)), COUNT)
    assert texts_of(squeezed) == [re.sub(" +", " ", text) for text in NASTY]
    assert squeeze(decode(tf.constant(["a   b"])), tf.constant(1)).source.numpy().tolist() == [0, 3, 4]


def test_neighbours_stop_at_the_edges_of_texts() -> None:
    text = tf.constant([0, 0, 0, 2, 2])
    before, after = neighbours(tf.constant([1, 2, 3, 4, 5]), text, 9)
    assert before.numpy().tolist() == [9, 1, 2, 9, 4]
    assert after.numpy().tolist() == [2, 3, 9, 5, 9]
    before, after = neighbours(tf.constant([1, 2, 3, 4, 5]), text, 9, 2)
    assert before.numpy().tolist() == [9, 9, 1, 9, 9]
    assert after.numpy().tolist() == [3, 9, 9, 9, 9]
    assert firsts(text).numpy().tolist() == [True, False, False, True, False]
    assert firsts(tf.constant([], tf.int32)).numpy().tolist() == []
