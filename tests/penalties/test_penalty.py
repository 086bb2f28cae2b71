from types import SimpleNamespace

import numpy as np
import pytest

from mtl.penalties import Penalty
from mtl.penalties.penalty import chosen_parts, squared_norm


def test_the_base_binds_nothing():
    with pytest.raises(NotImplementedError):
        Penalty().bind({})
    with pytest.raises(NotImplementedError):
        Penalty().value()


def test_parts_are_chosen_by_name_and_pattern():
    parts = {"trunk": SimpleNamespace(), "top/a": SimpleNamespace(), "head/a": SimpleNamespace()}
    assert list(chosen_parts(parts, "top/*", "It")) == ["top/a"]
    assert list(chosen_parts(parts, ["trunk", "*/a"], "It")) == ["trunk", "top/a", "head/a"]
    with pytest.raises(ValueError, match=r"It expects parts of the model named like \['encoder/\*'\]; it has \['trunk'"):
        chosen_parts(parts, "encoder/*", "It")


def test_squares_are_summed_in_float32():
    assert float(squared_norm([np.array([1.0, 2.0], "float16"), np.array([[3.0]])])) == 14.0
    assert float(squared_norm([])) == 0.0
