import numpy as np
import pytest

from mtl.data import Encoding, Example, Tokenizer
from mtl.data.encoding import encode_examples


def encoding(offsets, segments=None, text="New York", pair=None):
    size = len(offsets)
    segment_ids = np.zeros(size, np.int32) if segments is None else np.array(segments, np.int32)
    return Encoding(np.arange(size, dtype=np.int32), segment_ids, np.array(offsets, np.int32).reshape(size, 2), text, pair)


NONE = (-1, -1)


@pytest.mark.parametrize(
    ("offsets", "segments", "words", "of_tokens", "first"),
    [
        # [CLS] New Yo rk [SEP]
        ([NONE, (0, 3), (4, 6), (6, 8), NONE], None, [(0, 3), (4, 8)], [-1, 0, 1, 1, -1], [1, 2]),
        # A piece that holds the space before its word.
        ([(0, 3), (3, 8)], None, [(0, 3), (4, 8)], [0, 1], [0, 1]),
        # The second word was cut off.
        ([NONE, (0, 3), NONE], None, [(0, 3), (4, 8)], [-1, 0, -1], [1, -1]),
        # Tokens between words, and before the first, are of none.
        ([(0, 1), (2, 4), (5, 6), (7, 8)], None, [(2, 4), (7, 8)], [-1, 0, -1, 1], [1, 3]),
        # Characters of the second text are not those of the first.
        ([(0, 3), NONE, (0, 3), (4, 8)], [0, 0, 1, 1], [(0, 3), (4, 8)], [0, -1, -1, -1], [0, -1]),
        # One token over two words begins the first of them; an empty token none.
        ([(0, 8), (8, 8)], None, [(0, 8)], [0, -1], [0]),
        # A word that shares its first token with the word before is read at its next token.
        ([(0, 4), (4, 5)], None, [(0, 2), (3, 5)], [0, 1], [0, 1]),
        # Where a word has no token that is not read already, it is read at its last.
        ([(0, 3), (3, 8)], None, [(0, 1), (1, 2), (2, 5), (5, 8)], [0, 2], [0, 0, 1, 1]),
        ([(0, 3), (4, 8)], None, [], [-1, -1], []),
        ([], None, [(0, 3)], [], [-1]),
    ],
)
def test_words_and_tokens(offsets, segments, words, of_tokens, first):
    each = encoding(offsets, segments)
    assert each.word_of_tokens(words).tolist() == of_tokens and each.word_of_tokens(words).dtype == np.int32
    assert each.word_tokens(words).tolist() == first and each.word_tokens(words).dtype == np.int32
    assert len(each) == len(offsets)


@pytest.mark.parametrize(
    ("offsets", "segments", "places", "characters"),
    [
        ([NONE, (0, 1), (0, 1), (1, 2), NONE], None, [1, 3], [(0, 1), (1, 2)]),  # bytes of a character
        ([(0, 1), (0, 3), (1, 3), (2, 4)], None, [0, 1, 3], [(0, 1), (1, 3), (3, 4)]),
        ([(2, 3), (0, 1), (0, 0), (3, 5)], None, [0, 3], [(2, 3), (3, 5)]),
        ([(0, 1), NONE, (0, 1), (0, 4)], [0, 0, 1, 0], [0, 3], [(0, 1), (1, 4)]),
        ([], None, [], []),
    ],
)
def test_characters_that_no_earlier_token_covers(offsets, segments, places, characters):
    found, own = encoding(offsets, segments).own_characters()
    assert found.tolist() == places and [tuple(span) for span in own.tolist()] == characters


def test_examples_keep_their_order_with_and_without_pairs():
    tokenizer = Tokenizer.learn("word", ["a b c"])
    a, b, c, sep = (tokenizer.id(token) for token in ("a", "b", "c", "[SEP]"))
    encodings = encode_examples([Example("a"), Example("b", "c"), Example("a b c"), Example("c", "a")], tokenizer, 3)
    assert [each.token_ids.tolist() for each in encodings] == [[a], [b, sep, c], [a, b, c], [c, sep, a]]
    assert [each.segment_ids.tolist() for each in encodings] == [[0], [0, 0, 1], [0, 0, 0], [0, 0, 1]]
    assert [(each.text, each.pair) for each in encodings] == [("a", None), ("b", "c"), ("a b c", None), ("c", "a")]
    assert [each.truncated for each in encode_examples([Example("a b"), Example("a b c")], tokenizer, 2)] == [False, True]
    assert encode_examples([], tokenizer, None) == []
