"""Tokenized texts with offsets in characters."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from mtl.data.example import Example

__all__ = ["Encoding", "encode_examples"]


@dataclass(frozen=True, slots=True)
class Encoding:
    """Tokens of one text or pair of texts.

    Args:
        token_ids: int32 `[S]`.
        segment_ids: int32 `[S]`, 0 for the first text (and its special tokens), 1 for the second.
        offsets: int32 `[S, 2]`, each token's `(start, end)` in characters (Python `str` indices) of its text; `(-1, -1)` for
            special tokens, and for all tokens if offsets were not requested.
        text: the first text.
        pair: the second text, or None.
        truncated: whether tokens were cut off to satisfy the maximum length.
    """

    token_ids: np.ndarray
    segment_ids: np.ndarray
    offsets: np.ndarray
    text: str
    pair: str | None = None
    truncated: bool = False

    def __len__(self) -> int:
        return len(self.token_ids)

    def word_of_tokens(self, words) -> np.ndarray:
        """Return the index of the word in which each token of the first text starts: int32 `[S]`, -1 for none.

        This is the first word of which the token has a character; a token may begin with the space before the word.

        Args:
            words: `(start, end)` character offsets, in order, not overlapping.
        """
        result = np.full(len(self.token_ids), -1, np.int32)
        if len(words):
            bounds = np.asarray(words, np.int64)
            places = self.with_characters()
            starts, ends = self.offsets[places].T
            word = np.searchsorted(bounds[:, 1], starts, side="right")
            inside = word < len(bounds)
            inside[inside] = bounds[word[inside], 0] < ends[inside]
            result[places] = np.where(inside, word, -1)
        return result

    def word_tokens(self, words) -> np.ndarray:
        """Return the index of the token at which each word is read and labelled: int32 `[len(words)]`, -1 without tokens.

        This is the first token that has a character of the word and at which no earlier word is read. If there is none, as when
        one token covers several words, it is the last token that has a character of the word:
        `token[w] = min(last[w], max(first[w], token[w - 1] + 1))`.

        Args:
            words: `(start, end)` character offsets, in order, not overlapping.
        """
        result = np.full(len(words), -1, np.int32)
        places = self.with_characters()
        if not len(words) or not len(places):
            return result
        bounds = np.asarray(words, np.int64)
        starts, ends = np.maximum.accumulate(self.offsets[places], axis=0).T
        first = np.searchsorted(ends, bounds[:, 0], side="right")
        last = np.searchsorted(starts, bounds[:, 1], side="left") - 1
        there = np.flatnonzero(first <= last)
        first, last = first[there], last[there]
        if (first[1:] <= first[:-1]).any():  # Some words share tokens.
            pairs = zip(first.tolist(), last.tolist(), strict=True)
            first = np.array(list(accumulate(pairs, lambda token, pair: min(pair[1], max(pair[0], token + 1)), initial=-1))[1:])
        result[there] = places[first]
        return result

    def own_characters(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the tokens of the first text that cover characters which no earlier token covers, and these characters.

        If several tokens cover one character, such as its bytes, the first is returned.

        Returns:
            The tokens' indices, int64 `[T]`, and `(start, end)` of these characters, int `[T, 2]`, without overlaps.
        """
        places = self.with_characters()
        starts, ends = self.offsets[places].T
        covered = np.maximum.accumulate(np.append(0, ends))[:-1]
        starts = np.maximum(starts, covered)
        own = ends > starts
        return places[own], np.stack([starts, ends], 1)[own]

    def with_characters(self) -> np.ndarray:
        """Return the indices of the tokens that have characters of the first text: int64 `[T]`."""
        starts, ends = self.offsets.T
        return np.flatnonzero((self.segment_ids == 0) & (starts >= 0) & (ends > starts))


def encode_examples(examples: Sequence[Example], tokenizer: Any, max_length: int | None, offsets: bool = True) -> list[Encoding]:
    """Return the encodings of examples, with or without pairs."""
    result: list[Any] = [None] * len(examples)
    for paired in (False, True):
        rows = [i for i, example in enumerate(examples) if (example.pair is not None) == paired]
        if rows:
            pairs = [examples[i].pair for i in rows] if paired else None
            found = tokenizer.encode([examples[i].text for i in rows], pairs, max_length, offsets=offsets)
            for i, encoding in zip(rows, found, strict=True):
                result[i] = encoding
    return result
