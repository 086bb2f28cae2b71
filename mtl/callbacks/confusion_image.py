"""Images of confusion matrices."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from mtl.data.annotation import annotated_units, words_of
from mtl.data.example import Example
from mtl.heads.tagging import Tagging
from mtl.utils.matrix_image import matrix_image
from mtl.utils.tags import split_tag

__all__ = ["condense", "confusion_image", "tag_confusion"]

OTHER = "(other)"


def condense(matrix: np.ndarray, labels: Sequence[str], most: int) -> tuple[np.ndarray, list[str]]:
    """Return the matrix of the `most - 1` most frequent labels, in their order, with one row and column for all others.

    Args:
        matrix: `[C, C]`, gold by predicted.
        labels: the names of its rows.
        most: maximum number of rows; a matrix with no more rows is returned unchanged.

    Example:

    >>> import numpy as np
    >>> matrix, labels = condense(np.diag([1.0, 5.0, 2.0]), ["a", "b", "c"], most=2)
    >>> matrix.tolist(), labels
    ([[5.0, 0.0], [0.0, 3.0]], ['b', '(other)'])
    """
    if len(labels) <= most:
        return matrix, list(labels)
    often = np.sort(np.argsort(-(matrix.sum(0) + matrix.sum(1)), kind="stable")[: most - 1])
    place = np.full(len(labels), most - 1)
    place[often] = np.arange(most - 1)
    small = np.zeros((most, most), matrix.dtype)
    np.add.at(small, (place[:, None], place[None, :]), matrix)
    return small, [*(labels[i] for i in often), OTHER]


def tag_confusion(
    head: Tagging, gold: Sequence[Any], predicted: Sequence[dict[str, Any]], examples: Sequence[Example]
) -> tuple[np.ndarray, list[str]]:
    """Return the confusion matrix `[C, C]` of the types of words (or tokens), gold by predicted, and its labels.

    Args:
        head: the head; with a scheme, `B-PER` and `I-PER` both have the type `PER`.
        gold: labels, as in the source.
        predicted: results of the head's `decode` for the same examples.
        examples: the examples.
    """
    pairs: Counter[tuple[str, str]] = Counter()
    for value, found, example in zip(gold, predicted, examples, strict=True):
        units = words_of(example) if head.level == "word" else found["offsets"]
        tags = annotated_units(value, example, units, head.scheme, head.overlaps)
        pairs.update((tag, guess) for tag, guess in zip(tags, found["tags"], strict=True) if tag is not None)
    if head.scheme is not None:
        typed: Counter[tuple[str, str]] = Counter()
        for (tag, guess), count in pairs.items():
            typed[_type_of(tag), _type_of(guess)] += count
        pairs = typed
    labels = sorted({label for pair in pairs for label in pair})
    matrix = np.zeros((len(labels), len(labels)))
    for (tag, guess), count in pairs.items():
        matrix[labels.index(tag), labels.index(guess)] = count
    return matrix, labels


def _type_of(tag: str) -> str:
    """Return the type of a tag of spans, or `"span"` if spans have no types."""
    return "O" if tag == "O" else split_tag(tag)[1] or "span"


def confusion_image(matrix: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """Return the image of a confusion matrix: rows are gold, columns predicted, and a cell's shade is its share of its row.

    Args:
        matrix: `[C, C]` counts.
        labels: the C labels.

    Returns:
        uint8 `[height, width, 3]`.
    """
    totals = matrix.sum(axis=1, keepdims=True)
    share = np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)
    texts = [[("" if n <= 0 else f"{n:.0f}" if n >= 1000 else f"{n:.4g}") for n in row] for row in matrix]
    return matrix_image(share, texts, labels, rows="gold", columns="predicted")
