"""Conversion between tags of a sequence and spans."""

from collections.abc import Iterable, Sequence

import numpy as np

from mtl.utils import unknown_name
from mtl.utils.tags import BEGINS, ENDS, SCHEMES, make_tag, split_tag, tag_parts

__all__ = [
    "allowed_transitions",
    "convert_tags",
    "cover",
    "scheme_labels",
    "spans_of_tags",
    "tags_of_spans",
]


def scheme_labels(types: Iterable[str], scheme: str = "BIO") -> list[str]:
    """Return all tags of a scheme: `O` first, then those of each type in sorted order; those of the type `""` are prefixes only.

    Example:

    >>> scheme_labels(["PER", "LOC"])
    ['O', 'B-LOC', 'I-LOC', 'B-PER', 'I-PER']
    """
    return ["O", *(make_tag(prefix, kind) for kind in sorted(set(types)) for prefix in dict.fromkeys(_prefixes(scheme)))]


def spans_of_tags(tags: Sequence[str]) -> list[tuple[int, int, str]]:
    """Return the spans that tags denote, as `(start, end, type)` with `end` exclusive.

    The tags determine their scheme: BIO (IOB2), IOB1, BIOES, BILOU (`L` is read as `E`, `U` as `S`) or BMES (`M` is read as `I`).
    Prefixes alone, as in word segmentation, denote spans of the type `""`. Invalid sequences are read as in the CoNLL evaluation:
    a span begins at `B` and `S`, after `O`, `E` and `S`, and at a change of the type; it ends before the next `O` and before the
    next beginning.

    Example:

    >>> spans_of_tags(["I-PER", "I-PER", "O", "B-LOC", "B-LOC", "I-LOC"])
    [(0, 2, 'PER'), (3, 4, 'LOC'), (4, 6, 'LOC')]

    Reference:
        Tjong Kim Sang and Buchholz, "Introduction to the CoNLL-2000 Shared Task: Chunking", CoNLL 2000 (`conlleval`).
    """
    spans: list[tuple[int, int, str]] = []
    start, before, inside = 0, "O", ""
    for position, tag in enumerate([*tags, "O"]):
        prefix, kind = split_tag(tag)
        begins = prefix != "O" and (prefix in BEGINS or before == "O" or before in ENDS or kind != inside)
        if before != "O" and (prefix == "O" or begins):
            spans.append((start, position, inside))
        if begins:
            start = position
        before, inside = prefix, kind
    return spans


def tags_of_spans(spans: Iterable[tuple[int, int, str]], length: int, scheme: str = "BIO") -> list[str]:
    """Return the tags that denote spans, which must not overlap.

    Example:

    >>> tags_of_spans([(0, 2, "PER"), (3, 4, "LOC")], 4, scheme="BIOES")
    ['B-PER', 'E-PER', 'O', 'S-LOC']
    """
    first, inner, last, only = _prefixes(scheme)
    tags = ["O"] * length
    for start, end, kind in spans:
        prefixes = [first, *[inner] * (end - start - 2), last] if end - start > 1 else [only]
        tags[start:end] = [make_tag(prefix, kind) for prefix in prefixes]
    return tags


def convert_tags(tags: Sequence[str], scheme: str) -> list[str]:
    """Convert tags of any of the schemes to valid tags of one.

    Example:

    >>> convert_tags(["I-PER", "I-PER", "O"], "BIOES")
    ['B-PER', 'E-PER', 'O']
    """
    return tags_of_spans(spans_of_tags(tags), len(tags), scheme)


def allowed_transitions(labels: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which tag may follow which; schemes that mark the ends of spans are recognized by tags such as `E` and `S`.

    Returns:
        bool `[C, C]` (row: previous tag, column: next tag), bool `[C]` (may begin a row), bool `[C]` (may end one).

    Example:

    >>> allowed_transitions(["O", "B-X", "I-X"])[0].astype(int).tolist()
    [[1, 1, 0], [1, 1, 1], [1, 1, 1]]
    """
    outside, begins, ends, kinds = tag_parts(labels)
    marked = bool(ends.any())
    opens = ~outside & ~ends  # A span is open after the tag.
    continues = ~outside & ~begins  # The tag needs an open span before it.
    follows = opens[:, None] & (kinds[:, None] == kinds[None])
    allowed = np.where(continues[None], follows, ~opens[:, None] if marked else True)
    return allowed, ~continues, ~opens if marked else np.ones(len(labels), bool)


def cover(units: np.ndarray, spans: Sequence[tuple]) -> np.ndarray:
    """Return the span in which each unit lies: int32 `[N]`, -1 for none; a unit that touches several lies in the first of them.

    Args:
        units: int `[N, 2]`, `(start, end)` in characters; units without characters lie in none.
        spans: `(start, end, ...)` in characters, in order, not overlapping.

    Example:

    >>> cover(np.array([[0, 2], [2, 3], [-1, -1], [4, 6]]), [(0, 3), (5, 6)]).tolist()
    [0, 0, -1, 1]
    """
    units = np.asarray(units, np.int64).reshape(-1, 2)
    if not len(spans):
        return np.full(len(units), -1, np.int32)
    bounds = np.array([span[:2] for span in spans], np.int64)
    index = np.searchsorted(bounds[:, 1], units[:, 0], side="right")
    inside = (units[:, 0] >= 0) & (units[:, 1] > units[:, 0]) & (index < len(bounds))
    inside[inside] = bounds[index[inside], 0] < units[inside, 1]
    return np.where(inside, index, -1).astype(np.int32)


def _prefixes(scheme: str) -> tuple[str, ...]:
    if scheme not in SCHEMES:
        raise unknown_name("tag scheme", scheme, SCHEMES)
    return SCHEMES[scheme]
