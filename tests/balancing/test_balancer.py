import pytest

from mtl.balancing import Balancer


def test_the_base_combines_nothing():
    with pytest.raises(NotImplementedError):
        Balancer().combine([1.0], [True])


def test_the_base_has_no_weights_to_show():
    assert Balancer().current_weights() == {}
