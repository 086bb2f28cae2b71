"""Images of matrices with labelled rows and columns."""

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from mtl.utils.one_line import one_line

__all__ = ["drawable", "matrix_image"]


def drawable(labels: Iterable[str]) -> bool:
    """Return whether an installed font has a glyph for every character of the labels."""
    return _font(frozenset("".join(map(_short, labels)))) is not None


def matrix_image(
    matrix: np.ndarray,
    texts: Sequence[Sequence[str]],
    labels: Sequence[str],
    *,
    colormap: str = "Blues",
    low: float = 0.0,
    high: float = 1.0,
    rows: str = "",
    columns: str = "",
    columns_of: Sequence[str] | None = None,
) -> np.ndarray:
    """Return an image of a matrix.

    The axes show the labels if a font has their characters, and otherwise their numbers.

    Args:
        matrix: `[R, C]`; determines the cells' colours. NaN cells are white.
        texts: text of each cell.
        labels: labels of the R rows.
        colormap: name of a matplotlib colormap.
        low, high: values of the first and last colour.
        rows, columns: titles of the axes.
        columns_of: labels of the C columns, if they differ from those of the rows.

    Returns:
        uint8 `[height, width, 3]`.
    """
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    across = labels if columns_of is None else columns_of
    figure = Figure(figsize=(2.5 + 0.35 * len(across), 2.5 + 0.35 * len(labels)), dpi=80, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.imshow(matrix, cmap=colormap, vmin=low, vmax=high)
    for names, set_ticks, turned in ((across, axes.set_xticks, {"rotation": 90}), (labels, axes.set_yticks, {})):
        shown = list(map(_short, names))
        font = _font(frozenset("".join(shown)))
        options: dict[str, Any] = {"parse_math": False, "fontproperties": font, "fontsize": 8, **turned}
        set_ticks(range(len(shown)), [str(i) for i in range(len(shown))] if font is None else shown, **options)
    axes.set(xlabel=columns, ylabel=rows)
    for place in np.ndindex(matrix.shape):
        if texts[place[0]][place[1]]:
            red, green, blue, _ = colormaps[colormap]((matrix[place] - low) / (high - low))
            ink = "white" if 0.3 * red + 0.6 * green + 0.1 * blue < 0.5 else "black"
            axes.text(place[1], place[0], texts[place[0]][place[1]], ha="center", va="center", color=ink, fontsize=7)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _short(label: str) -> str:
    return one_line(label, 20)


@functools.lru_cache(maxsize=64)
def _font(characters: frozenset[str]) -> Any:
    """Return a font that has all the characters, the default font first; None if there is none."""
    from matplotlib import font_manager

    needed = {ord(character) for character in characters if not character.isspace()}
    usual = font_manager.findfont(font_manager.FontProperties())
    # A font of last resort draws a box for each kind of character, and colour fonts cannot be drawn.
    rest = [font.fname for font in font_manager.fontManager.ttflist if not any(bad in font.name for bad in ("Resort", "Emoji"))]
    for path in dict.fromkeys([usual, *sorted(rest, key=lambda path: "Sans" not in path)]):
        if needed <= font_manager.get_font(path).get_charmap().keys():
            return font_manager.FontProperties(fname=path)
    return None
