"""Metrics of tags and spans over a whole corpus."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mtl.data.annotation import annotated_spans, annotated_units, words_of
from mtl.data.example import Example, weights_of
from mtl.data.spans import cover
from mtl.data.unknown_tags import known_rows
from mtl.metrics.span_f1 import span_scores

__all__ = ["tag_report"]


def tag_report(
    gold: Sequence[Any],
    predicted: Sequence[Mapping[str, Any]],
    examples: Sequence[Example],
    level: str,
    known: Sequence[str] | None,
    scheme: str | None,
    overlaps: str = "raise",
    *,
    per_class: bool = False,
) -> dict[str, float]:
    """Return the accuracy of words or tokens, and, with a scheme, precision, recall and F1 of the spans.

    Args:
        gold: labels, as for `annotated_units`.
        predicted: the results of `Tagging.decode`.
        examples: the examples, whose weights apply.
        level: `"word"` or `"token"`.
        known: the tags known to training; words with other tags count only as `unknown`. None for all tags.
        scheme: the tags' scheme, or None.
        overlaps: as for `annotated_units`.
        per_class: whether to add each type's F1 as `span_f1:TYPE`.

    Returns:
        Metric name -> value; only `unknown` where no word has a known tag.

    Example:

    >>> example = Example.from_words(["in", "Rome"])
    >>> tag_report([["N", "V"]], [{"tags": ["N", "N"]}], [example], "word", ["N", "V"], None)
    {'accuracy': 0.5}
    """
    gold, predicted, examples, counted = known_rows(gold, predicted, examples, level, known, scheme, overlaps)
    if not gold:
        return {**counted}
    right = total = 0.0
    for value, found, example in zip(gold, predicted, examples, strict=True):
        units = words_of(example) if level == "word" else found["offsets"]
        wanted = annotated_units(value, example, units, scheme, overlaps)
        total += example.weight * sum(tag is not None for tag in wanted)
        right += example.weight * sum(tag == other for tag, other in zip(wanted, found["tags"], strict=True))
    scores = {**counted, "accuracy": right / total if total else 0.0}
    if scheme is None:
        return scores
    real = [annotated_spans(value, example, overlaps) for value, example in zip(gold, examples, strict=True)]
    found_spans = [[(span["start"], span["end"], span["type"]) for span in found["spans"]] for found in predicted]
    weights, hits = weights_of(examples), 0.0
    for spans, others, weight in zip(real, found_spans, weights, strict=True):
        index = cover(np.array([(start, start + 1) for start, *_ in spans]), others)
        hits += weight * sum(i >= 0 and others[i][2] == kind for i, (*_, kind) in zip(index, spans, strict=True))
    count = float(weights @ [len(spans) for spans in real])
    return {**scores, **span_scores(real, found_spans, per_class, weights), "type_accuracy": hits / count if count else 0.0}
