"""Most frequent label as a baseline."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from mtl.baselines.tagged import decoded, units_of
from mtl.data.annotation import annotated_spans, annotated_units
from mtl.data.example import Example
from mtl.heads.classification import Classification
from mtl.heads.head import Head
from mtl.heads.multi_label import MultiLabel
from mtl.heads.tagging import Tagging
from mtl.utils.arguments import checked
from mtl.utils.labels import label_text

__all__ = ["majority"]


@checked
def majority(train: Sequence[tuple[Example, Any]], test: Sequence[Example], head: Head) -> list[dict[str, Any]]:
    """Predict the same answer for every example: the most frequent one in the training split.

    For `Classification` the most frequent class, for `MultiLabel` the most frequent set of labels. For `Tagging` each word (each
    character, at `level="token"`) is a separate span of the most frequent type; if most words have no type, neither do they.

    Args:
        train: examples and their labels.
        test: examples to predict.
        head: the task's head, which knows its labels.

    Returns:
        Predictions in the form of `head.decode`, without probabilities.

    Raises:
        TypeError: if the head is of another class.

    Example:

    >>> import mtl
    >>> texts = [mtl.data.Example(text) for text in "abc"]
    >>> majority(list(zip(texts, ["up", "down", "up"])), texts[:1], mtl.heads.Classification(["down", "up"]))
    [{'label': 'up'}]
    """
    if isinstance(head, Classification):
        best = _most((label_text(value), example.weight) for example, value in train)
        return [{"label": best} for _ in test]
    if isinstance(head, MultiLabel):
        no_tokens: Any = None
        best = _most(
            (tuple(np.nan_to_num(head.encode(value, example, no_tokens)[0])), example.weight) for example, value in train
        )
        names = [name for name, there in zip(head.labels or (), best, strict=True) if there]
        return [{"labels": list(names)} for _ in test]
    if isinstance(head, Tagging):
        kind = _most((kind, example.weight) for example, value in train for kind in _types(value, example, head))
        guesses = [[(*unit, kind) for unit in units_of(example, head) if kind != "O"] for example in test]
        return [decoded(spans, example, head) for spans, example in zip(guesses, test, strict=True)]
    kinds = "Classification, MultiLabel or Tagging"
    raise TypeError(f"Baseline 'majority' expects a {kinds} head, got {type(head).__name__}; compare by hand.")


def _types(value: Any, example: Example, head: Tagging) -> list[str | None]:
    """Return the type of each unit, or `O`."""
    value = value if head.scheme is None else annotated_spans(value, example, head.overlaps)
    return annotated_units(value, example, units_of(example, head), None, head.overlaps)


def _most(items: Iterable[tuple[Any, float]]) -> Any:
    """Return the item with the greatest weight; of equal ones, the first in sorted order."""
    total: Counter[Any] = Counter()
    for item, weight in items:
        total[item] += weight  # type: ignore[assignment]
    return min(total, key=lambda item: (-total[item], item))
