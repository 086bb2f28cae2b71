"""Common behaviour of sources: errors of malformed rows, splits by hash, and segmentation of texts into words."""

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

#: Default share of the texts per split, for data without splits.
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
    """Error of a record that does not have the expected form.

    Args:
        problem: the place, what was expected and what was given.
        remedy: how to fix it.
    """

    def __init__(self, problem: str, remedy: str = "mend the record"):
        super().__init__(f"{problem}; {remedy}, or leave such records out with on_error='skip'.")
        self.problem = problem
        self.remedy = remedy

    def at(self, place: str) -> "Malformed":
        """Return the same error with its place, such as `"FILE, line 3"`."""
        return Malformed(f"{place}: {self.problem}", self.remedy)


#: What a parser yields: an example, or the error of a record.
Row = Example | Malformed
Reader = Callable[[], Iterator[Row]]
Segment = str | Callable[[str], Sequence[str]]


def shown(value: Any, limit: int = 60) -> str:
    """Return a value's `repr`, shortened for an error message."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def peek(items: Iterable[T], size: int = 1000) -> tuple[list[T], Iterator[T]]:
    """Return the first items, and an iterator over all items.

    Example:

    >>> head, items = peek("abc", size=2)
    >>> head, "".join(items)
    (['a', 'b'], 'abc')
    """
    rest = iter(items)
    head = list(islice(rest, size))
    return head, chain(head, rest)


def split_named(name: str) -> str:
    """Return the split that a name such as `"dev"` means; an unknown name is returned as it is."""
    return _ALIASES.get(name.lower(), name)


def named_splits(splits: Mapping[str, T]) -> dict[str, T]:
    """Return the same mapping with standard split names.

    Raises:
        ValueError: if two names mean the same split.
    """
    result: dict[str, T] = {}
    for name, value in splits.items():
        split = split_named(name)
        if split in result:
            raise ValueError(f"Expected one entry for the split '{split}', got several among {list(splits)}; join them.")
        result[split] = value
    return result


class RowSource(Source):
    """Source made from functions that read rows.

    Args:
        name: name of the source in errors.
        readers: split -> function that starts a pass; or one such function, whose examples are split by `fractions`.
        labels: names of the labels.
        fractions: split -> share of the texts, by a hash of text and pair; None: all texts are in "train".
        seed: seed of the hash.
        on_error: "raise" or "skip".
        segment: function from a text to its words, or "jieba"; sets the words of examples that have none.
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
