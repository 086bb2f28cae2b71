"""Balancers by name."""

from collections.abc import Mapping
from typing import Any

import keras

from mtl.balancing.balancer import Balancer
from mtl.utils import brief, find_name, unknown_name
from mtl.utils.configs import check_config

__all__ = ["get"]


def get(balancer: Any = None) -> Balancer:
    """Return a balancer from its name, a name with arguments, or a balancer itself.

    Args:
        balancer: a `Balancer`; a name, in which case, `_` and `-` are ignored; `{name: {argument: value}}`, where an argument
            `balancer` may be a name too; a balancer as serialised by Keras; or None for `Static()`.

    Raises:
        ValueError: an unknown name, unknown arguments, or a value of another type.

    Example:

    >>> import mtl
    >>> type(mtl.balancing.get("pcgrad")).__name__
    'PCGrad'
    >>> mtl.balancing.get({"cagrad": {"c": 0.4}}).c
    0.4
    """
    if isinstance(balancer, Balancer):
        return balancer
    if balancer is None:
        balancer = "static"
    if isinstance(balancer, Mapping) and "class_name" in balancer:
        check_config(balancer, "a balancer")
        balancer = keras.saving.deserialize_keras_object(dict(balancer))
        if isinstance(balancer, Balancer):
            return balancer
    if isinstance(balancer, str):
        balancer = {balancer: {}}
    if isinstance(balancer, type) and issubclass(balancer, Balancer):
        raise ValueError(f"Expected a balancer; got the class {balancer.__name__}. Call it: {balancer.__name__}().")
    if not isinstance(balancer, Mapping) or len(balancer) != 1:
        raise ValueError(f"Expected a balancer, its name, or {{name: {{argument: value}}}}; got {brief(balancer)}.")
    name, arguments = next(iter(balancer.items()))
    if not isinstance(arguments, Mapping | None):
        raise ValueError(f"Expected the arguments of the balancer '{name}' by name, {{argument: value}}; got {brief(arguments)}.")
    classes = _classes()
    chosen = find_name(str(name), classes)
    if chosen is None:
        raise unknown_name("balancer", name, classes)
    arguments = dict(arguments or {})
    if "balancer" in arguments:
        arguments["balancer"] = get(arguments["balancer"])
    return classes[chosen](**arguments)


def _classes() -> dict[str, type[Balancer]]:
    """Return the exported balancers by name."""
    import mtl.balancing as family

    found = {name: getattr(family, name) for name in family.__all__}
    return {
        name: each
        for name, each in found.items()
        if isinstance(each, type) and issubclass(each, Balancer) and each is not Balancer
    }
