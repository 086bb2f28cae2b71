"""Tags of spans: prefixes and types."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["BEGINS", "ENDS", "SCHEMES", "TagParts", "make_tag", "split_tag", "tag_parts", "types_of"]

#: scheme -> prefixes of a span's first, inner and last unit, and of the unit of a span of one.
SCHEMES = {
    "BIO": ("B", "I", "I", "B"),
    "BIOES": ("B", "I", "E", "S"),
    "BILOU": ("B", "I", "L", "U"),
    "BMES": ("B", "M", "E", "S"),
}
_PREFIXES = {prefix for prefixes in SCHEMES.values() for prefix in prefixes}
#: Prefixes of all schemes at which a span always begins (those of a first and of a single unit), and at which it always ends.
BEGINS = {prefix for first, _, _, only in SCHEMES.values() for prefix in (first, only)}
ENDS = {prefix for _, inner, last, only in SCHEMES.values() if last != inner for prefix in (last, only)}


class TagParts(NamedTuple):
    """Meaning of several tags.

    Args:
        outside: whether the tag is `O`, bool `[C]`.
        begins: whether a span always begins at the tag, bool `[C]`.
        ends: whether a span always ends at the tag, bool `[C]`.
        kinds: number of the tag's type, int32 `[C]`; undefined for `O`.
    """

    outside: np.ndarray
    begins: np.ndarray
    ends: np.ndarray
    kinds: np.ndarray


def split_tag(tag: str) -> tuple[str, str]:
    """Return a tag's prefix and type: `"B-LOC"` -> `("B", "LOC")`; the type of `"O"`, and of a prefix alone, is `""`.

    Raises:
        ValueError: if the tag is not `O`, and not one of `B`, `I`, `M`, `E`, `L`, `S`, `U`, alone or with `-` and a type.

    Example:

    >>> split_tag("B-LOC"), split_tag("O"), split_tag("S")
    (('B', 'LOC'), ('O', ''), ('S', ''))
    """
    prefix, dash, kind = tag.partition("-")
    if tag != "O" and (prefix not in _PREFIXES or bool(dash) != bool(kind)):
        raise ValueError(
            f"Expected a tag such as 'O', 'B-LOC' or 'I-LOC', got '{tag}'; "
            "for plain tags, such as parts of speech, pass scheme=None."
        )
    return prefix, kind


def make_tag(prefix: str, kind: str) -> str:
    """Return the tag of a prefix and a type, which may be `""`; the inverse of `split_tag`."""
    return f"{prefix}-{kind}" if kind else prefix


def types_of(tags: Iterable[str]) -> set[str]:
    """Return the types of tags; `O` has none.

    Example:

    >>> sorted(types_of(["O", "B-X", "I-X", "S"]))
    ['', 'X']
    """
    return {kind for prefix, kind in map(split_tag, tags) if prefix != "O"}


def tag_parts(tags: Sequence[str]) -> TagParts:
    """Return the parts of each tag.

    Example:

    >>> parts = tag_parts(["O", "B-X", "E-X", "S-Y"])
    >>> parts.begins.tolist(), parts.ends.tolist(), parts.kinds.tolist()
    ([False, True, False, True], [False, False, True, True], [0, 1, 1, 2])
    """
    prefixes, types = zip(*map(split_tag, tags), strict=True)
    kinds = np.unique(types, return_inverse=True)[1].astype(np.int32)
    outside, begins, ends = (np.isin(prefixes, sorted(letters)) for letters in ({"O"}, BEGINS, ENDS))
    return TagParts(outside, begins, ends, kinds)
