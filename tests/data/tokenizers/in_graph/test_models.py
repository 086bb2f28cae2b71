import json
import random

import tensorflow as tf

from mtl.data.tokenizers.in_graph.models import BytePairs, Unigrams, WholeWords, WordPieces
from mtl.data.tokenizers.tokenizer import Tokenizer


def rows(model: tf.Module, words: list[str]) -> list[list[tuple[int, int, int]]]:
    """(id, start, end) of each word's pieces."""
    parts = [part.to_list() for part in model(tf.constant(words))]
    assert len(parts[0]) == len(words)
    return [list(zip(*row, strict=True)) for row in zip(*parts, strict=True)]


def test_whole_words() -> None:
    model = WholeWords({"vocab": {"[UNK]": 0, "a": 1, "北京": 2}, "unk_token": "[UNK]"})
    assert rows(model, ["a", "北京", "ab"]) == [[(1, 0, 1)], [(2, 0, 6)], [(0, 0, 2)]]


def test_word_pieces() -> None:
    tokens = ["[UNK]", "a", "##b", "ab", "##bc", "é", "##é"]
    model = WordPieces(
        {
            "vocab": {token: i for i, token in enumerate(tokens)},
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 4,
        }
    )
    assert rows(model, ["abb", "abc", "aébb", "abbbb", "éééé"]) == [
        [(3, 0, 2), (2, 2, 3)],
        [(0, 0, 3)],
        [(1, 0, 1), (6, 1, 3), (2, 3, 4), (2, 4, 5)],
        [(0, 0, 5)],
        [(5, 0, 2), (6, 2, 4), (6, 4, 6), (6, 6, 8)],
    ]
    assert rows(model, ["xyz"]) == [[(0, 0, 3)]]


def merged(word: str, merges: list[list[str]]) -> list[str]:
    """Byte pairs as they are defined: again and again the first of the pairs that were learned earliest."""
    pieces = [chr(byte) for byte in word.encode()]
    ranks = {tuple(pair): rank for rank, pair in enumerate(merges)}
    while pairs := [(ranks[pair], i) for i, pair in enumerate(zip(pieces, pieces[1:], strict=False)) if pair in ranks]:
        _, i = min(pairs)
        pieces[i : i + 2] = ["".join(pieces[i : i + 2])]
    return pieces


def test_byte_pairs() -> None:
    letters = random.Random(0)
    words = ["".join(letters.choices("abc", k=letters.randint(1, 12))) for _ in range(500)]
    model = json.loads(Tokenizer.learn("bpe", [" ".join(words[:200])], size=320).definition)["model"]
    plain = [pair for pair in model["merges"] if "Ġ" not in "".join(pair)]
    model = {**model, "merges": plain}
    names = {i: token for token, i in model["vocab"].items()}
    for word, row in zip(words, rows(BytePairs(model), words), strict=True):
        assert [names[i] for i, _, _ in row] == merged(word, plain)
        assert [word[a:b] for _, a, b in row] == merged(word, plain)
    assert any(len(row) > 1 for row in rows(BytePairs(model), words))


def test_bytes_without_a_token_are_dropped() -> None:
    assert rows(BytePairs({"vocab": {"a": 0, "c": 1, "ac": 2}, "merges": ["a c"]}), ["abc", "b"]) == [[(2, 0, 3)], []]


def test_unigrams() -> None:
    vocabulary = [["<unk>", 0.0], ["▁", -3.0], ["▁a", -2.0], ["b", -2.0], ["ab", -4.5], ["▁ab", -3.5]]
    model = Unigrams({"vocab": vocabulary, "unk_id": 0, "byte_fallback": False})
    # ▁ takes three bytes. "▁ab" at -3.5 is more probable than "▁a b" at -4; "b ab" at -6.5 is the only way.
    assert rows(model, ["▁ab", "bab", "▁x"]) == [[(5, 0, 5)], [(3, 0, 1), (4, 1, 3)], [(1, 0, 3), (0, 3, 4)]]
