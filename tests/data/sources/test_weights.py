import pytest

from mtl.data.sources.rows import Malformed
from mtl.data.sources.weights import weight_of


@pytest.mark.parametrize(("value", "weight"), [(0, 0.0), (2, 2.0), ("1e-3", 0.001), (" 4 ", 4.0)])
def test_weights(value, weight):
    assert weight_of(value) == weight


@pytest.mark.parametrize(
    "value", [-1, "-0.1", float("nan"), "nan", float("inf"), "heavy", "", None, True, [1.0], 10**400, 1e39, "4e38"]
)
def test_values_that_are_no_weights(value):
    with pytest.raises(Malformed, match="expected a weight, a finite number from 0(| to 3.4e[+]38), got .*; mend the weight"):
        weight_of(value)
