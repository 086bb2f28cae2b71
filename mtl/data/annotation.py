"""Labels of words, characters or spans of a text, converted to one form."""

from bisect import bisect
from collections.abc import Mapping, Sequence
from itertools import pairwise
from numbers import Real
from typing import Any

import numpy as np

from mtl.data.example import Example, Span, split_words
from mtl.data.spans import cover, spans_of_tags, tags_of_spans
from mtl.utils.brief import brief
from mtl.utils.labels import label_text
from mtl.utils.tags import types_of
from mtl.utils.types import fits

__all__ = [
    "OVERLAPS",
    "annotated_spans",
    "annotated_types",
    "annotated_units",
    "blank_spans",
    "count_overlapping",
    "tagged_words",
    "words_of",
]

#: Treatment of overlapping spans: an error, or keep the longest (shortest), and the first of equally long ones.
OVERLAPS = ("raise", "longest", "shortest")


def words_of(example: Example) -> tuple[Span, ...]:
    """Return the example's words, `(start, end)` in characters: those of its source, or else those that its text splits into."""
    return example.words if example.words is not None else split_words(example.text)


def annotated_types(value: Sequence[Any], scheme: str | None) -> set[str]:
    """Return the types in one label: span types, or without a scheme plain tags (and `O`, if spans leave gaps)."""
    if _holds_spans(value):
        return {kind for *_, kind in map(_span, value)} | (set() if scheme else {"O"})
    if scheme is None:
        return {_tag(tag) for tag in value}
    return types_of(map(_tag, value))


def annotated_spans(value: Sequence[Any], example: Example, overlaps: str | None = "raise") -> list[tuple[int, int, str]]:
    """Convert one label to spans of characters, in order.

    Args:
        value: tags of any scheme, one per word (or one per character, if the example has no words), or spans of characters,
            `(start, end, type)` or `{"start": 0, "end": 3, "type": "PER"}`, where "label" may replace "type" and other keys are
            ignored. White space at the ends of a span is removed, and a span of only white space is left out.
        example: the example.
        overlaps: one of `OVERLAPS`; spans that overlap a kept one are left out. None to keep all.

    Raises:
        ValueError: if the numbers of tags and words differ, spans lie outside the text, or they overlap (with `"raise"`).

    Example:

    >>> annotated_spans(["O", "B-LOC", "I-LOC"], Example.from_words(["in", "New", "York"]))
    [(3, 11, 'LOC')]
    """
    if _holds_spans(value):
        trimmed = {_trimmed(span, example.text) for span in _checked(value, example.text)}
        return _apart(sorted(span for span in trimmed if span[0] < span[1]), overlaps)
    units, tags = tagged_words(value, example)
    return [(units[first][0], units[end - 1][1], kind) for first, end, kind in spans_of_tags(tags)]


def blank_spans(value: Sequence[Any], example: Example) -> list[tuple[int, int, str]]:
    """Return a label's spans of only white space, which `annotated_spans` leaves out.

    Example:

    >>> blank_spans([(0, 3, "LOC"), (3, 4, "LOC")], Example("New York"))
    [(3, 4, 'LOC')]
    """
    if not _holds_spans(value):
        return []
    return [span for span in _checked(value, example.text) if example.text[span[0] : span[1]].isspace()]


def count_overlapping(value: Sequence[Any], example: Example) -> int:
    """Return the number of a label's spans that are left out because they overlap others, if the longest are kept.

    Example:

    >>> count_overlapping([(0, 8, "LOC"), (4, 8, "LOC"), (9, 10, "PER")], Example("New York I"))
    1
    """
    if not _holds_spans(value):
        return 0
    return len(annotated_spans(value, example, None)) - len(annotated_spans(value, example, "longest"))


def annotated_units(
    value: Sequence[Any], example: Example, units: Any, scheme: str | None, overlaps: str = "raise"
) -> list[str | None]:
    """Convert one label to one tag per unit, such as a word or a token.

    A unit belongs to the first span, or the first word, that it touches.

    Args:
        value: see `annotated_spans`; without a scheme, any tags.
        example: the example.
        units: int `[N, 2]`, `(start, end)` in characters, in order; `(-1, -1)` for units to leave out.
        scheme: a scheme of tags, or None for tags as they are.
        overlaps: see `annotated_spans`.

    Returns:
        Tags; None for units without a tag.

    Example:

    >>> annotated_units([(0, 8, "LOC")], Example("New York"), [(0, 3), (4, 6), (6, 8), (-1, -1)], "BIOES")
    ['B-LOC', 'I-LOC', 'E-LOC', None]
    """
    units = np.asarray(units, np.int64).reshape(-1, 2)
    real = (units[:, 0] >= 0) & (units[:, 1] > units[:, 0])
    tags: list[str | None]
    if scheme is None and not _holds_spans(value):
        words, plain = tagged_words(value, example)
        return [plain[index] if index >= 0 else None for index in cover(units, words)]
    spans = annotated_spans(value, example, overlaps)
    index = cover(units, spans)
    if scheme is None:
        tags = [spans[i][2] if i >= 0 else "O" for i in index]
    else:
        runs: list[list[int]] = []
        for position, i in enumerate(index):
            if i >= 0 and runs and runs[-1][2] == i:
                runs[-1][1] = position + 1
            elif i >= 0:
                runs.append([position, position + 1, int(i)])
        tags = list(tags_of_spans([(first, end, spans[i][2]) for first, end, i in runs], len(units), scheme))
    return [tag if there else None for tag, there in zip(tags, real, strict=True)]


def tagged_words(value: Sequence[Any], example: Example, overlaps: str = "raise") -> tuple[Sequence[Span], list[str]]:
    """Return the words that plain tags label (characters, if the example has no words), and their tags; `O` between spans."""
    if _holds_spans(value):
        units = words_of(example)
        return units, [str(tag) for tag in annotated_units(value, example, units, None, overlaps)]
    words: Sequence[Span] = example.words if example.words is not None else [(i, i + 1) for i in range(len(example.text))]
    if len(value) != len(words):
        pieces = example.text.split()
        if example.words is None and len(value) == len(pieces) > 1:
            raise ValueError(
                f"Expected one tag a character, {len(words)} for '{example.text[:60]}' (the example has no words), "
                f"got {len(value)}, one a word; give the text as a list of words, such as {pieces[:3]}."
            )
        unit = "word" if example.words is not None else "character (the example has no words)"
        raise ValueError(
            f"Expected one tag a {unit}, {len(words)} for '{example.text[:60]}', got {len(value)}; mend the words or the tags."
        )
    return words, [_tag(tag) for tag in value]


def _holds_spans(value: Sequence[Any]) -> bool:
    if isinstance(value, str) or not isinstance(value, (list, tuple, np.ndarray)):
        remedy = f"cut it, as in {value.split()[:3]}" if isinstance(value, str) else "give a list"
        raise ValueError(
            f"Expected a list of tags, or of (start, end, type) spans, got {type(value).__name__} {repr(value)[:60]}; {remedy}."
        )
    return len(value) == 0 or isinstance(value[0], Mapping) or (isinstance(value[0], (list, tuple)) and len(value[0]) == 3)


def _span(value: Any) -> tuple[Any, Any, str]:
    """Return a span's unconverted start and end, and the text of its type."""
    if isinstance(value, Mapping):
        parts = value.get("start"), value.get("end"), value.get("type", value.get("label"))
    else:
        parts = tuple(value) if isinstance(value, (list, tuple)) else ()
    if len(parts) != 3 or any(part is None for part in parts):
        raise ValueError(
            f"Expected a span such as (0, 3, 'PER') or {{'start': 0, 'end': 3, 'type': 'PER'}}, got {brief(value, 80)}; "
            "give each span its start, end and type."
        )
    return parts[0], parts[1], _tag(parts[2], "the type of a span")


def _tag(value: Any, what: str = "a tag") -> str:
    """Return the text of a tag or type, which may be a text or a number."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (str, Real)) or value != value:
        raise ValueError(f"Expected {what} as a text, such as 'B-PER' or 'PER'; got {brief(value, 80)}. Give each one its name.")
    return label_text(value)


def _checked(value: Sequence[Any], text: str) -> list[tuple[int, int, str]]:
    """Return the distinct spans of a label, in order."""
    spans = set()
    for start, end, kind in map(_span, value):
        if not (fits(int, start) and fits(int, end) and 0 <= start < end <= len(text)):
            raise ValueError(
                f"Expected spans (start, end, type) with 0 <= start < end <= {len(text)}, the text's length; "
                f"got ({start!r:.40}, {end!r:.40}, '{kind:.40}'): count characters, with end exclusive."
            )
        spans.add((int(start), int(end), kind))
    return sorted(spans)


def _trimmed(span: tuple[int, int, str], text: str) -> tuple[int, int, str]:
    """Remove the white space at the ends of a span; if nothing remains, its end is before its start."""
    start, end, kind = span
    piece = text[start:end]
    return start + len(piece) - len(piece.lstrip()), end - len(piece) + len(piece.rstrip()), kind


def _apart(spans: list[tuple[int, int, str]], overlaps: str | None) -> list[tuple[int, int, str]]:
    """Return the sorted spans that are kept, in order."""
    nearest = [pair for pair in pairwise(spans) if pair[1][0] < pair[0][1]]
    if not nearest or overlaps is None:
        return spans
    if overlaps == "raise":
        raise ValueError(
            f"Expected spans that do not overlap, got {nearest[0][0]} and {nearest[0][1]}; leave one of them out, or keep the "
            "longest of such spans with Tagging(overlaps='longest')."
        )
    sign = {"longest": -1, "shortest": 1}[overlaps]
    kept: list[tuple[int, int, str]] = []
    for span in sorted(spans, key=lambda span: sign * (span[1] - span[0])):
        place = bisect(kept, span)
        if (place == 0 or kept[place - 1][1] <= span[0]) and (place == len(kept) or span[1] <= kept[place][0]):
            kept.insert(place, span)
    return kept
