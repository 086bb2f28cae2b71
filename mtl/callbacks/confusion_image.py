"""Confusion matrices as pictures."""

import functools
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from mtl.callbacks.readable import one_line
from mtl.data.annotation import annotated_units, words_of
from mtl.data.example import Example
from mtl.data.spans import split_tag
from mtl.heads.tagging import Tagging

__all__ = ["condense", "confusion_image", "drawable", "tag_confusion"]

OTHER = "(other)"


def condense(matrix: np.ndarray, labels: Sequence[str], most: int) -> tuple[np.ndarray, list[str]]:
    """The matrix of the `most - 1` labels that occur most, in their order, and one row and column for all others.

    Args:
        matrix: `[C, C]`, gold by predicted.
        labels: the names of its rows.
        most: how many rows to keep; a matrix of no more stays as it is.

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
    """How types of words (or tokens) are taken for one another: a matrix `[C, C]`, gold by predicted, and its labels.

    Args:
        head: the head; with a scheme, `B-PER` and `I-PER` are both of the type `PER`.
        gold: labels, as the source gave them.
        predicted: what the head's `decode` gave for the same examples.
        examples: the examples.
    """
    pairs: Counter[tuple[str, str]] = Counter()
    for value, found, example in zip(gold, predicted, examples, strict=True):
        units = words_of(example) if head.level == "word" else found["offsets"]
        tags = annotated_units(value, example, units, head.scheme)
        pairs.update((tag, guess) for tag, guess in zip(tags, found["tags"], strict=True) if tag is not None)
    if head.scheme is not None:
        typed: Counter[tuple[str, str]] = Counter()
        for (tag, guess), count in pairs.items():
            typed[split_tag(tag)[1] or "O", split_tag(guess)[1] or "O"] += count
        pairs = typed
    labels = sorted({label for pair in pairs for label in pair})
    matrix = np.zeros((len(labels), len(labels)))
    for (tag, guess), count in pairs.items():
        matrix[labels.index(tag), labels.index(guess)] = count
    return matrix, labels


def drawable(labels: Iterable[str]) -> bool:
    """Whether a font at hand has a glyph for every character of the labels."""
    return _font(frozenset("".join(map(_short, labels)))) is not None


def confusion_image(matrix: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """A confusion matrix as a picture: rows are gold, columns predicted, a cell is as dark as its share of its row.

    Labels stand beside it where a font has their characters, and else their numbers.

    Args:
        matrix: `[C, C]` counts.
        labels: the C labels.

    Returns:
        uint8 `[height, width, 3]`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    size, count = 2.5 + 0.35 * len(labels), range(len(labels))
    figure = Figure(figsize=(size, size), dpi=80, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    totals = matrix.sum(axis=1, keepdims=True)
    share = np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)
    axes.imshow(share, cmap="Blues", vmin=0.0, vmax=1.0)
    names = list(map(_short, labels))
    font = _font(frozenset("".join(names)))
    texts: dict[str, Any] = {"parse_math": False, "fontproperties": font, "fontsize": 8}
    names = [str(i) for i in count] if font is None else names
    axes.set_xticks(count, names, rotation=90, **texts)
    axes.set_yticks(count, names, **texts)
    axes.set(xlabel="predicted", ylabel="gold")
    for row, column in np.argwhere(matrix > 0):
        dark = "white" if share[row, column] > 0.5 else "black"
        number = matrix[row, column]
        shown = f"{number:.0f}" if number >= 1000 else f"{number:.4g}"
        axes.text(column, row, shown, ha="center", va="center", color=dark, fontsize=7)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _short(label: str) -> str:
    return one_line(label, 20)


@functools.lru_cache(maxsize=64)
def _font(characters: frozenset[str]) -> Any:
    """A font that has all the characters, the usual one first; None where there is none."""
    from matplotlib import font_manager

    needed = {ord(character) for character in characters if not character.isspace()}
    usual = font_manager.findfont(font_manager.FontProperties())
    # A font of last resort shows a box for each kind of character, and colour fonts cannot be drawn.
    rest = [font.fname for font in font_manager.fontManager.ttflist if not any(bad in font.name for bad in ("Resort", "Emoji"))]
    for path in dict.fromkeys([usual, *sorted(rest, key=lambda path: "Sans" not in path)]):
        if needed <= font_manager.get_font(path).get_charmap().keys():
            return font_manager.FontProperties(fname=path)
    return None
