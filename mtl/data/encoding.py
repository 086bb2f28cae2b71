"""A tokenized text with its way back to characters."""

from collections.abc import Sequence
from dataclasses import dataclass
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
        offsets: int32 `[S, 2]`, each token's `(start, end)` in characters (Python `str` indices) of the text it comes from;
            `(-1, -1)` for special tokens, and for all where the tokenizer was not asked for them.
        text: the first text.
        pair: the second text, or None.
        truncated: whether tokens were cut off to keep within the length allowed.
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
        """Which word each token of the first text starts in: int32 `[S]`, -1 for none.

        Args:
            words: `(start, end)` character offsets, in order, not overlapping.
        """
        result = np.full(len(self.token_ids), -1, np.int32)
        if len(words) == 0:
            return result
        bounds = np.asarray(words, np.int32)
        starts, ends = self.offsets[:, 0], self.offsets[:, 1]
        # The last word that begins before the token ends: a piece may begin with the space before its word.
        word = np.searchsorted(bounds[:, 0], ends - 1, side="right").astype(np.int32) - 1
        inside = (self.segment_ids == 0) & (starts >= 0) & (ends > starts) & (word >= 0)
        inside[inside] &= starts[inside] < bounds[word[inside], 1]
        result[inside] = word[inside]
        return result

    def first_tokens(self, words) -> np.ndarray:
        """The first token of each word: int32 `[len(words)]`, -1 where a word has none."""
        of_tokens = self.word_of_tokens(words)
        result = np.full(len(words), -1, np.int32)
        for token in range(len(of_tokens) - 1, -1, -1):
            if of_tokens[token] >= 0:
                result[of_tokens[token]] = token
        return result


def encode_examples(examples: Sequence[Example], tokenizer: Any, max_length: int | None, offsets: bool = True) -> list[Encoding]:
    """Encodings of examples, with or without pairs."""
    result: list[Any] = [None] * len(examples)
    for paired in (False, True):
        rows = [i for i, example in enumerate(examples) if (example.pair is not None) == paired]
        if rows:
            pairs = [examples[i].pair for i in rows] if paired else None
            found = tokenizer.encode([examples[i].text for i in rows], pairs, max_length, offsets=offsets)
            for i, encoding in zip(rows, found, strict=True):
                result[i] = encoding
    return result
