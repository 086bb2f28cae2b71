"""Tags that spell spans: their letters, and what these say."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["BEGINS", "ENDS", "SCHEMES", "TagParts", "make_tag", "split_tag", "tag_parts", "types_of"]

#: scheme -> the prefixes of a span's first, inner and last unit, and of its only one.
SCHEMES = {
    "BIO": ("B", "I", "I", "B"),
    "BIOES": ("B", "I", "E", "S"),
    "BILOU": ("B", "I", "L", "U"),
    "BMES": ("B", "M", "E", "S"),
}
_PREFIXES = {prefix for prefixes in SCHEMES.values() for prefix in prefixes}
#: The prefixes at which a span always begins: of all schemes, those of a first unit and of an only one; and always ends.
BEGINS = {prefix for first, _, _, only in SCHEMES.values() for prefix in (first, only)}
ENDS = {prefix for _, inner, last, only in SCHEMES.values() if last != inner for prefix in (last, only)}


class TagParts(NamedTuple):
    """What each of several tags says.

    Args:
        outside: whether it is `O`, bool `[C]`.
        begins: whether a span always begins at it, bool `[C]`.
        ends: whether a span always ends at it, bool `[C]`.
        kinds: its type as a number, int32 `[C]`; that of `O` means nothing.
    """

    outside: np.ndarray
    begins: np.ndarray
    ends: np.ndarray
    kinds: np.ndarray


def split_tag(tag: str) -> tuple[str, str]:
    """A tag's prefix and type: `"B-LOC"` -> `("B", "LOC")`; the type of `"O"`, and of a prefix alone, is `""`.

    Raises:
        ValueError: the tag is not `O`, and not one of `B`, `I`, `M`, `E`, `L`, `S`, `U`, alone or with `-` and a type.

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
    """The tag of a prefix and a type, which may be `""`; the inverse of `split_tag`."""
    return f"{prefix}-{kind}" if kind else prefix


def types_of(tags: Iterable[str]) -> set[str]:
    """The types of tags; `O` has none.

    Example:

    >>> sorted(types_of(["O", "B-X", "I-X", "S"]))
    ['', 'X']
    """
    return {kind for prefix, kind in map(split_tag, tags) if prefix != "O"}


def tag_parts(tags: Sequence[str]) -> TagParts:
    """Return what each tag says.

    Example:

    >>> parts = tag_parts(["O", "B-X", "E-X", "S-Y"])
    >>> parts.begins.tolist(), parts.ends.tolist(), parts.kinds.tolist()
    ([False, True, False, True], [False, False, True, True], [0, 1, 1, 2])
    """
    prefixes, types = zip(*map(split_tag, tags), strict=True)
    kinds = np.unique(types, return_inverse=True)[1].astype(np.int32)
    outside, begins, ends = (np.isin(prefixes, sorted(letters)) for letters in ({"O"}, BEGINS, ENDS))
    return TagParts(outside, begins, ends, kinds)
