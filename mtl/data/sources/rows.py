"""What every source does with its rows: malformed ones, splits cut by hash, and words cut out of raw texts."""

import importlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from types import MappingProxyType
from typing import Any, TypeVar

from mtl.data.example import Example, Span
from mtl.data.source import Source, checked_fractions, split_of
from mtl.utils import unknown_name

__all__ = [
    "FRACTIONS",
    "Malformed",
    "Reader",
    "Row",
    "RowSource",
    "Segment",
    "named_splits",
    "peek",
    "shown",
    "split_named",
]

logger = logging.getLogger(__name__)

#: How the texts of one file are shared out among the splits.
FRACTIONS: Mapping[str, float] = MappingProxyType({"train": 0.8, "validation": 0.1, "test": 0.1})

_ALIASES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "dev": "validation",
    "val": "validation",
    "trial": "validation",
    "test": "test",
}

T = TypeVar("T")


class Malformed(ValueError):
    """A record that is not of the form expected.

    Args:
        problem: where, what was expected and what came.
        remedy: what mends it.
    """

    def __init__(self, problem: str, remedy: str = "mend the record"):
        super().__init__(f"{problem}; {remedy}, or leave such records out with on_error='skip'.")
        self.problem = problem
        self.remedy = remedy

    def at(self, place: str) -> "Malformed":
        """The same with its place, such as `"FILE, line 3"`."""
        return Malformed(f"{place}: {self.problem}", self.remedy)


#: What a parser yields: an example, or what is wrong with the record.
Row = Example | Malformed
Reader = Callable[[], Iterator[Row]]
Segment = str | Callable[[str], Sequence[str]]


def shown(value: Any, limit: int = 60) -> str:
    """A value's `repr`, cut to a length that an error message can bear."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def peek(items: Iterable[T], size: int = 1000) -> tuple[list[T], Iterator[T]]:
    """The first items, and all items: what a file is like shows in its first thousand records, not in the first one.

    Example:

    >>> head, items = peek("abc", size=2)
    >>> head, "".join(items)
    (['a', 'b'], 'abc')
    """
    rest = iter(items)
    head = list(islice(rest, size))
    return head, chain(head, rest)


def split_named(name: str) -> str:
    """The split that a name such as `"dev"` stands for; a name that is not known stands for itself."""
    return _ALIASES.get(name.lower(), name)


def named_splits(splits: Mapping[str, T]) -> dict[str, T]:
    """The same mapping under the splits' own names.

    Raises:
        ValueError: two names stand for one split.
    """
    result: dict[str, T] = {}
    for name, value in splits.items():
        split = split_named(name)
        if split in result:
            raise ValueError(f"Expected one entry for the split '{split}', got several among {list(splits)}; join them.")
        result[split] = value
    return result


class RowSource(Source):
    """A source out of functions that read rows.

    Args:
        name: what errors call the source.
        readers: split -> function that starts a pass; or one such function, whose examples `fractions` cuts into splits.
        labels: names of the labels.
        fractions: split -> share of the texts, by a hash of text and pair; None: all are "train".
        seed: of the hash.
        on_error: "raise" or "skip".
        segment: gives `words` to examples that have none: a function from a text to its words, or "jieba".
        fingerprint: see `Source`.
    """

    def __init__(
        self,
        name: str,
        readers: Reader | Mapping[str, Reader],
        labels: Iterable[str],
        *,
        fractions: Mapping[str, float] | None = None,
        seed: int = 0,
        on_error: str = "raise",
        segment: Segment | None = None,
        fingerprint: str | None = None,
    ):
        if on_error not in ("raise", "skip"):
            raise unknown_name("on_error", on_error, ("raise", "skip"))
        self._on_error = on_error
        self._find_words = _segmenter(segment)
        self._shares: Mapping[str, float] | None = None
        self._seed = seed
        if callable(readers):
            self._shares = None if fractions is None else checked_fractions(fractions)
            readers = dict.fromkeys(self._shares or ("train",), readers)
        passes = {split: partial(self._pass, split, reader) for split, reader in readers.items()}
        super().__init__(name, passes, tuple(labels), fingerprint)

    def _pass(self, split: str, reader: Reader) -> Iterator[Example]:
        self.skipped[split] = count = 0
        first: Malformed | None = None
        readable = False
        for row in reader():
            if isinstance(row, Malformed):
                if self._on_error == "raise":
                    raise row
                first = first or row
                self.skipped[split] = count = count + 1
                continue
            readable = True
            if self._shares is None or split_of(_key(row), self._shares, self._seed) == split:
                yield self._with_words(row)
        if first is None:
            return
        if not readable:
            raise first
        logger.warning("%s: left out %d malformed records of '%s'; the first: %s", self.name, count, split, first.problem)

    def _with_words(self, example: Example) -> Example:
        if self._find_words is None or example.words is not None:
            return example
        return replace(example, words=self._find_words(example.text))


def _key(example: Example) -> str:
    return example.text if example.pair is None else f"{example.text}\0{example.pair}"


def _segmenter(segment: Segment | None) -> Callable[[str], tuple[Span, ...]] | None:
    if segment is None:
        return None
    if isinstance(segment, str):
        if segment != "jieba":
            raise unknown_name("segment", segment, ("jieba",))
        try:
            jieba = importlib.import_module("jieba")
        except ImportError as error:
            raise ImportError(
                "segment='jieba' needs the package jieba, which is not installed; install it with `pip install jieba`, "
                "or give a function from a text to its words."
            ) from error
        cut: Callable[[str], Sequence[str]] = jieba.lcut
    else:
        cut = segment

    def find_words(text: str) -> tuple[Span, ...]:
        spans = []
        position = 0
        for word in cut(text):
            if not word.strip():
                continue
            start = text.find(word, position)
            if start < 0:
                raise ValueError(
                    f"Expected words that follow one another in the text {shown(text)}, got {shown(word)} from segment; "
                    "give a function that cuts the text without changing it."
                )
            position = start + len(word)
            spans.append((start, position))
        return tuple(spans)

    return find_words
