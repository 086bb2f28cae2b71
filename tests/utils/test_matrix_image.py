import numpy as np

from mtl.utils.matrix_image import drawable, matrix_image


def test_what_no_font_has_cannot_be_drawn():
    assert drawable(["good", "über", ""])
    assert not drawable(["good", "\U000f0000"])  # A private character, which only a font of last resort has.


def test_cells_have_the_colours_of_their_values():
    """Red below 0, blue above, white where there is no number."""
    matrix = np.array([[1.0, -1.0], [np.nan, 0.0]])
    image = matrix_image(matrix, [["", ""], ["", ""]], ["a", "b"], colormap="RdBu", low=-1.0).astype(int)
    red, blue = image[..., 0] - image[..., 2] > 50, image[..., 2] - image[..., 0] > 50
    assert red.any() and blue.any()
    left, right = np.argwhere(blue)[:, 1].mean(), np.argwhere(red)[:, 1].mean()
    assert left < right and abs(np.argwhere(blue)[:, 0].mean() - np.argwhere(red)[:, 0].mean()) < 3


def test_rows_and_columns_may_have_names_of_their_own():
    wide = matrix_image(np.zeros((1, 6)), [[""] * 6], ["a"], columns_of=list("bcdefg"))
    assert wide.shape[1] > wide.shape[0]
