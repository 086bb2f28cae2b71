"""Units that carry tags, words or characters, and the tokens at which their tags are read."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mtl.data.annotation import annotated_spans, blank_spans, tagged_words, words_of
from mtl.data.encoding import Encoding
from mtl.data.example import Example
from mtl.data.spans import cover, spans_of_tags
from mtl.utils.tags import types_of

__all__ = ["TagUnits", "lost_labels", "tag_units"]


class TagUnits(NamedTuple):
    """Units of a text that carry tags, and the tokens at which these are read.

    Args:
        units: `(start, end)` of each unit in characters, int `[N, 2]`.
        first: index of the first unit read at each such token, int `[T]`.
        last: index of the last unit read at each such token, int `[T]`. Units without a token are read nowhere.
        positions: indices of these tokens, int `[T]`.
    """

    units: np.ndarray
    first: np.ndarray
    last: np.ndarray
    positions: np.ndarray

    def spread(self, values: Sequence[Any], filler: Any) -> list[Any]:
        """Return, for each unit, the value of the token at which it is read, or `filler` if there is none: `[N]`."""
        result = [filler] * len(self.units)
        for value, first, last in zip(values, self.first.tolist(), self.last.tolist(), strict=True):
            for unit in range(first, last + 1):
                result[unit] = value
        return result

    def spans(self, tags: Sequence[str]) -> list[tuple[int, int, str]]:
        """Return the spans that the tokens' tags denote, `(start, end, type)` in units, including inner units without a token."""
        return [(int(self.first[start]), int(self.last[end - 1]) + 1, kind) for start, end, kind in spans_of_tags(tags)]

    def characters(self, spans: Sequence[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
        """Convert spans in units to spans in characters."""
        return [(int(self.units[start][0]), int(self.units[end - 1][1]), kind) for start, end, kind in spans]


def tag_units(example: Example, encoding: Encoding, level: str) -> TagUnits:
    """Return the units that carry tags: words, or with `level="token"` the characters of each token that no earlier one covers.

    Example:

    >>> offsets = np.array([[0, 5], [6, 8]])
    >>> tokens = Encoding(np.array([7, 8]), np.zeros(2, int), offsets, "ab cd ef")
    >>> found = tag_units(Example("ab cd ef"), tokens, "word")
    >>> found.first.tolist(), found.last.tolist(), found.positions.tolist(), found.spread(["X", "Y"], "O")
    ([0, 2], [1, 2], [0, 1], ['X', 'X', 'Y'])
    """
    if level == "token":
        positions, units = encoding.own_characters()
        number = np.arange(len(positions))
        return TagUnits(units, number, number, positions)
    units = np.array(words_of(example), np.int64).reshape(-1, 2)
    tokens = encoding.word_tokens(units)
    there = np.flatnonzero(tokens >= 0)
    new = np.diff(tokens[there], prepend=-1) > 0
    first, last = there[new], there[np.append(new[1:], True)[: len(there)]]
    return TagUnits(units, first, last, tokens[first])


def lost_labels(
    value: Sequence[Any],
    example: Example,
    found: TagUnits,
    tags: Sequence[str],
    names: Sequence[str],
    scheme: str | None,
    overlaps: str = "raise",
) -> int:
    """Return the number of a label's spans (without a scheme, of its tags) that cannot be recovered from its tokens' tags.

    Args:
        value: label; see `annotated_spans`.
        example: the example.
        found: units of the example.
        tags: tags of the tokens at which units are read, `[T]`.
        names: known tags; labels of other types do not count.
        scheme: scheme of the tags, or None.
        overlaps: see `annotated_spans`; the spans that it leaves out are lost, and so are those of only white space.

    Example:

    >>> units = TagUnits(np.array([[0, 2], [3, 5]]), np.array([0]), np.array([1]), np.array([0]))  # one token, two words
    >>> lost_labels([(0, 5, "X")], Example("ab cd"), units, ["B-X"], ["O", "B-X", "I-X"], "BIO")
    0
    >>> lost_labels([(0, 2, "X"), (3, 5, "X")], Example("ab cd"), units, ["B-X"], ["O", "B-X", "I-X"], "BIO")
    2
    """
    known = types_of(names) if scheme is not None else {*names}
    blank = sum(kind in known for *_, kind in blank_spans(value, example))
    if scheme is not None:
        wanted = {span for span in annotated_spans(value, example, None) if span[2] in known}
        return blank + len(wanted.difference(found.characters(found.spans(tags))))
    words, plain = tagged_words(value, example, overlaps)
    given = [*found.spread(tags, None), None]
    index = cover(np.array(words), [tuple(unit) for unit in found.units.tolist()])
    return blank + sum(tag in known and given[i] != tag for i, tag in zip(index, plain, strict=True))
