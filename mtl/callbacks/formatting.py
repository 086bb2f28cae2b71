"""Predictions and labels as short texts for tables."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mtl.data.annotation import annotated_spans, annotated_units, words_of
from mtl.data.example import Example
from mtl.heads.head import Head
from mtl.heads.tagging import Tagging
from mtl.utils.one_line import one_line

__all__ = ["example_text", "gold_text", "markdown_table", "prediction_text"]

_MARKUP = re.compile(r"[\\`*_{}\[\]<>&#|~$!+.()-]")


def example_text(example: Example, most: int = 200) -> str:
    """Return an example's text, or both its texts, on one line.

    Example:

    >>> example_text(Example("one", "two"))
    'one / two'
    """
    return one_line(example.text if example.pair is None else f"{example.text} / {example.pair}", most)


def prediction_text(prediction: Any) -> str:
    """Return a short text for a result of a head's `decode`.

    Example:

    >>> prediction_text({"label": "good", "probability": 0.834, "probabilities": {}})
    'good (83%)'
    """
    if not isinstance(prediction, Mapping):
        return one_line(prediction)
    if "label" in prediction:
        return one_line(f"{prediction['label']} ({prediction['probability']:.0%})")
    if "labels" in prediction:
        return one_line(", ".join(map(str, prediction["labels"])) or "none")
    if "value" in prediction:
        return f"{prediction['value']:.4g}"
    if "spans" in prediction:
        return _spans([(span["text"], span["type"]) for span in prediction["spans"]])
    if "tags" in prediction:
        return _tags(prediction.get("words") or prediction["tokens"], prediction["tags"])
    return one_line(json.dumps(prediction, ensure_ascii=False, default=str))


def gold_text(value: Any, example: Example, head: Head) -> str:
    """Return a text for a label of a source, in the form of `prediction_text`."""
    if isinstance(head, Tagging):
        if head.scheme is not None:
            return _spans(
                [(example.text[start:end], kind) for start, end, kind in annotated_spans(value, example, head.overlaps)]
            )
        words = words_of(example)
        return _tags(
            [example.text[start:end] for start, end in words], annotated_units(value, example, words, None, head.overlaps)
        )
    if isinstance(value, (list, tuple, set)):
        return one_line(", ".join(map(str, value)) or "none")
    return f"{value:.4g}" if isinstance(value, float) else one_line(value)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown, with special characters in its cells escaped.

    Example:

    >>> print(markdown_table(["text", "n"], [["a|b", "1"]]))
    | text | n |
    | --- | --- |
    | a&#124;b | 1 |
    """
    cells = [[_MARKUP.sub(lambda sign: f"&#{ord(sign[0])};", cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in [list(header), ["---"] * len(header), *cells])


def _spans(spans: Sequence[tuple[str, str]]) -> str:
    return one_line("; ".join(f"{kind}: {text}" for text, kind in spans) or "none")


def _tags(units: Sequence[str], tags: Sequence[str | None]) -> str:
    return one_line(" ".join(f"{unit}/{tag}" if tag else unit for unit, tag in zip(units, tags, strict=True)))
