"""Tags and spans in the form of `Tagging.decode`."""

from collections.abc import Sequence
from typing import Any

from mtl.data.annotation import annotated_units, words_of
from mtl.data.example import Example, Span
from mtl.data.spans import spans_of_tags
from mtl.heads.head import Head
from mtl.heads.tagging import Tagging

__all__ = ["decoded", "tagging_head", "typed_spans", "units_of"]


def tagging_head(head: Head, baseline: str) -> Tagging:
    """Return the head after checking its class.

    Raises:
        TypeError: if it is no `Tagging`.
    """
    if not isinstance(head, Tagging):
        raise TypeError(f"Baseline '{baseline}' expects a Tagging head, got {type(head).__name__}; choose another baseline.")
    return head


def units_of(example: Example, head: Tagging) -> tuple[Span, ...]:
    """Return the units to tag: words, or at `level="token"`, where a baseline has no tokens, each character except spaces."""
    if head.level == "word":
        return words_of(example)
    return tuple((i, i + 1) for i, character in enumerate(example.text) if not character.isspace())


def typed_spans(units: Sequence[Span], tags: Sequence[str], scheme: str | None) -> list[tuple[int, int, str]]:
    """Return the character spans that the units' tags denote; without a scheme, each unit with a tag other than `O` is a span.

    Example:

    >>> typed_spans([(0, 1), (1, 3), (3, 4)], ["B-LOC", "I-LOC", "O"], "BIO"), typed_spans([(0, 2)], ["n"], None)
    ([(0, 3, 'LOC')], [(0, 2, 'n')])
    """
    if scheme is None:
        return [(start, end, tag) for (start, end), tag in zip(units, tags, strict=True) if tag != "O"]
    return [(units[first][0], units[end - 1][1], kind) for first, end, kind in spans_of_tags(tags)]


def decoded(spans: Sequence[tuple[int, int, str]], example: Example, head: Tagging) -> dict[str, Any]:
    """Return character spans in the form of `head.decode`, without probabilities.

    Example:

    >>> from mtl.data.example import Example
    >>> decoded([(0, 2, "LOC")], Example("北京好"), Tagging(["O", "B-LOC", "I-LOC"]))["tags"]
    ['B-LOC', 'I-LOC', 'O']
    """
    units = units_of(example, head)
    texts = [example.text[start:end] for start, end in units]
    result: dict[str, Any] = {"words": texts}
    if head.level == "token":
        result = {"tokens": texts, "offsets": [list(unit) for unit in units]}
    result["tags"] = annotated_units(spans, example, units, head.scheme)
    if head.scheme is not None:
        result["spans"] = [{"start": a, "end": b, "type": kind, "text": example.text[a:b]} for a, b, kind in spans]
    return result
