import pytest

from mtl.sharing import Sharing
from tests.tiny import Bag


def test_the_base_connects_nothing():
    with pytest.raises(NotImplementedError):
        Sharing().bind(Bag(), ["a"])
