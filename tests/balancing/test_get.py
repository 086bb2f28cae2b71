import keras
import pytest

import mtl
from mtl.balancing import CRMOGM, CAGrad, Static, get


@pytest.mark.parametrize("name", ["CAGrad", "cagrad", "ca_grad", "CA-Grad"])
def test_by_name(name):
    assert isinstance(get(name), CAGrad)


def test_with_arguments():
    assert get({"cagrad": {"c": 0.25}}).get_config() == {"c": 0.25, "rescale": 0}
    assert isinstance(get({"cagrad": None}), CAGrad)
    wrapped = get({"cr-mogm": {"balancer": "cagrad", "momentum": 0.5}})
    assert isinstance(wrapped, CRMOGM) and isinstance(wrapped.balancer, CAGrad)


def test_what_needs_no_making():
    balancer = CAGrad()
    assert get(balancer) is balancer
    assert isinstance(get(), Static)


@pytest.mark.parametrize("arguments", [3, [1], "c"])
def test_arguments_are_given_by_name(arguments):
    with pytest.raises(ValueError, match=r"the arguments of the balancer 'cagrad' by name, {argument: value}; got"):
        get({"cagrad": arguments})


def test_every_method_is_found():
    for name in mtl.balancing.__all__:
        if name not in ("Balancer", "CRMOGM", "Diagnosis", "diagnose", "get"):
            assert type(get(name.lower())).__name__ == name


def test_errors():
    with pytest.raises(ValueError, match="Unknown balancer 'PCGard'; did you mean 'PCGrad'"):
        get("PCGard")
    with pytest.raises(ValueError, match="Unknown balancer 'pcgrd'; did you mean 'PCGrad'"):
        get("pcgrd")
    with pytest.raises(ValueError, match=r"Expected a balancer, its name, or \{name: \{argument: value\}\}; got 3"):
        get(3)
    with pytest.raises(ValueError, match=r"Expected a balancer; got the class CAGrad. Call it: CAGrad\(\)."):
        get(CAGrad)
    with pytest.raises(ValueError, match="Unknown argument of CAGrad 'd'"):
        get({"cagrad": {"d": 1}})
    with pytest.raises(ValueError, match=r"Static expects `weights` as a dict \(each value a number\) or None; got \[1, 2\]"):
        get({"static": {"weights": [1, 2]}})
    with pytest.raises(ValueError, match="Expected a balancer, its name, or .*; got <Dense"):
        get(keras.saving.serialize_keras_object(keras.layers.Dense(3)))
    with pytest.raises(ValueError, match="CRMOGM expects `balancer` as a mtl.balancing.Balancer; got 3"):
        CRMOGM(3)  # type: ignore[arg-type]
