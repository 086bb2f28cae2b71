from types import SimpleNamespace

import keras
import numpy as np
import pytest

from mtl.penalties import Penalty
from mtl.penalties.penalty import chosen_parts, squared_norm


class Sum(Penalty):
    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def value(self):
        return self.factor * sum(keras.ops.sum(weight) for weight in self.trained)


class OfHeads(Penalty):
    def __init__(self, **kwargs):
        super().__init__("head/*", **kwargs)


def parts():
    layers = {
        "trunk": keras.layers.Dense(2, kernel_initializer="ones"),
        "head/a": keras.layers.Dense(3, kernel_initializer="ones"),
    }
    for layer in layers.values():
        layer.build((None, 4))
    return {name: SimpleNamespace(layer=layer, tasks=("a",)) for name, layer in layers.items()}


def test_the_base_has_no_value():
    with pytest.raises(NotImplementedError):
        Penalty().bind(parts()).value()
    assert Penalty().chosen == {} and Penalty().trained == []


def test_a_penalty_of_ones_own_is_about_the_parts_named():
    assert float(Sum(2.0).bind(parts()).value()) == 2.0 * (8 + 12)
    bound = Sum(2.0, parts="head/*").bind(parts())
    assert float(bound.value()) == 2.0 * 12 and list(bound.chosen) == ["head/a"]
    again = Sum.from_config(bound.get_config())
    assert (again.factor, again.parts) == (2.0, "head/*") and float(again.bind(parts()).value()) == 24.0
    found = parts()
    found["head/a"].layer.trainable = False
    assert float(Sum().bind(found).value()) == 8.0


def test_parts_that_a_constructor_sets():
    bound = OfHeads().bind(parts())
    assert list(bound.chosen) == ["head/a"] and list(OfHeads.from_config(bound.get_config()).bind(parts()).chosen) == ["head/a"]


def test_parts_are_chosen_by_name_and_pattern():
    parts = {"trunk": SimpleNamespace(), "top/a": SimpleNamespace(), "head/a": SimpleNamespace()}
    assert list(chosen_parts(parts, "top/*", "It")) == ["top/a"]
    assert list(chosen_parts(parts, ["trunk", "*/a"], "It")) == ["trunk", "top/a", "head/a"]
    with pytest.raises(ValueError, match=r"It expects parts of the model named like \['encoder/\*'\]; it has \['trunk'"):
        chosen_parts(parts, "encoder/*", "It")


def test_squares_are_summed_in_float32():
    assert float(squared_norm([np.array([1.0, 2.0], "float16"), np.array([[3.0]])])) == 14.0
    assert float(squared_norm([])) == 0.0
