"""Examples: a text, optionally a second text, and labels."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np

__all__ = ["Example", "combining_marks", "join_words", "split_words", "weights_of"]

_CJK = "\u2e80-\u2fff\u3001-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003134f"
_IS_CJK = re.compile(rf"[{_CJK}]")

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Example:
    """A text with its labels.

    Args:
        text: the text.
        pair: a second text, for tasks on pairs of texts.
        words: words of `text` as `(start, end)` character offsets, if the source has words.
        labels: label name -> value. A name that is absent, or None, means "not labelled". The type of a value depends on the
            task's head: a class name, a list of names, a number, a list of tags (one per word), a list of
            `(start, end, type)` character spans.
        place: place of the example in its source, such as `"news.csv, line 3"`; None if there is no such place. Examples that
            differ only in their places are equal.
        weight: importance of the example in losses and metrics; 1 for an ordinary example, 0 to ignore it.
    """

    text: str
    pair: str | None = None
    words: tuple[Span, ...] | None = None
    labels: Mapping[str, Any] = field(default_factory=dict)
    place: str | None = field(default=None, compare=False, repr=False)
    weight: float = 1.0

    @classmethod
    def from_words(
        cls,
        words: Sequence[str],
        pair: str | None = None,
        labels: Mapping[str, Any] | None = None,
        place: str | None = None,
        weight: float = 1.0,
    ) -> "Example":
        """Return an example whose text is given as words."""
        text, spans = join_words(words)
        return cls(text, pair, spans, labels or {}, place, weight)


def weights_of(examples: Iterable[Example]) -> np.ndarray:
    """Return the examples' weights: float64 `[N]`."""
    return np.array([example.weight for example in examples], np.float64)


def join_words(words: Sequence[str]) -> tuple[str, tuple[Span, ...]]:
    """Join words to a text: a space between two words, none between two Chinese characters.

    Returns:
        The text, and each word's `(start, end)` in it.

    Example:

    >>> join_words(["我", "爱", "New", "York"])
    ('我爱 New York', ((0, 1), (1, 2), (3, 6), (7, 11)))
    """
    parts: list[str] = []
    spans: list[Span] = []
    length = 0
    for word in words:
        if parts and not (_IS_CJK.match(word[:1]) and _IS_CJK.match(parts[-1][-1:])):
            parts.append(" ")
            length += 1
        parts.append(word)
        spans.append((length, length + len(word)))
        length += len(word)
    return "".join(parts), tuple(spans)


def split_words(text: str) -> tuple[Span, ...]:
    """Split a text into words, `(start, end)`: runs of letters (with accents) and digits, single Chinese characters, and other
    single characters except spaces.

    Example:

    >>> [("I'm in 北京, ok")[a:b] for a, b in split_words("I'm in 北京, ok")]
    ["I'm", 'in', '北', '京', ',', 'ok']
    """
    return tuple(match.span() for match in _word_pattern().finditer(text))


@lru_cache(maxsize=1)
def combining_marks() -> str:
    """Return the characters that modify the one before them, such as accents, vowel signs and variation selectors."""
    planes = chain(range(0x300, 0x20000), range(0xE0100, 0xE01F0))  # All blocks that contain marks.
    return "".join(char for char in map(chr, planes) if unicodedata.category(char).startswith("M"))


@lru_cache(maxsize=1)
def _word_pattern() -> re.Pattern[str]:
    marks = combining_marks()
    letters = rf"(?:(?![{_CJK}])[\w{marks}])+"
    return re.compile(rf"[{_CJK}]|{letters}(?:[-'’/.:]{letters})*|[^\w\s{marks}]")
