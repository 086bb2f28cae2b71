import numpy as np
import pytest

from mtl.utils.sequences import front_order


@pytest.mark.parametrize("length", [1, 7])
def test_marked_positions_come_first_in_order(length):
    mask = np.random.default_rng(0).random((20, length)) < 0.5
    order = np.asarray(front_order(mask))
    for row, marked in zip(order, mask, strict=True):
        assert row.tolist() == [*np.flatnonzero(marked), *np.flatnonzero(~marked)]
