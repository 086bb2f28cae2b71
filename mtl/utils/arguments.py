"""Checks of arguments against the types that their functions declare."""

import functools
import inspect
import typing
from collections.abc import Callable, Iterable, Mapping
from types import NoneType
from typing import Any, TypeVar

import numpy as np

from mtl.utils.brief import brief
from mtl.utils.errors import unknown_name
from mtl.utils.types import described, fits

__all__ = ["WrongType", "checked", "constructor_arguments"]

F = TypeVar("F", bound=Callable[..., Any])
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class WrongType(TypeError, ValueError):
    """Argument that its function does not accept."""


def checked(function: F) -> F:
    """Check the arguments of each call: their names, that none is missing, and the declared types.

    An argument's default is always valid. `**kwargs` of a constructor may hold arguments of its base classes' constructors.

    Example:

    >>> from mtl.utils.types import Count
    >>> @checked
    ... def blur(width: Count = 3): ...
    >>> try:
    ...     blur("3")
    ... except ValueError as error:
    ...     print(error)
    blur expects `width` as a whole number from 1; got '3'. Give one, or leave it out for 3.
    """
    signature = inspect.signature(function)
    named = {name: parameter for name, parameter in signature.parameters.items() if parameter.kind in _NAMED}
    places = [name for name, parameter in named.items() if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    method = places[:1] in (["self"], ["cls"], ["cls_"])

    @functools.cache
    def types() -> dict[str, Any]:
        try:
            return typing.get_type_hints(function, include_extras=True)
        except NameError:  # A name that is imported for type checking only.
            return {name: parameter.annotation for name, parameter in named.items()}

    def unknown(name: str, owner: str, first: Any) -> ValueError | None:
        names: Iterable[str] = [argument for argument in named if argument not in places[:method]]
        if inspect.Parameter.VAR_KEYWORD in kinds:
            if function.__name__ != "__init__" or type(first).__init__ is not wrapper:  # A subclass may accept more.
                return None
            names = _names_of(type(first))
        return None if name in names else unknown_name(f"argument of {owner}", name, names)

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        owner = type(args[0]).__name__ if function.__name__ == "__init__" else function.__qualname__.split(".<locals>.")[-1]
        if len(args) > len(places) and inspect.Parameter.VAR_POSITIONAL not in kinds:
            most = len(places) - method
            raise WrongType(f"{owner} expects at most {most} arguments by place; got {len(args) - method}. Name the others.")
        given = dict(zip(places, args, strict=False))
        for name in kwargs:
            if name in given:
                raise WrongType(f"{owner} expects `{name}` once; got it by place and by name. Leave one of the two out.")
            if name not in named and (error := unknown(name, owner, args[0] if args else None)):
                raise WrongType(str(error))
        given.update(kwargs)
        for name, parameter in named.items():
            if name in given:
                value, annotation = given[name], types().get(name, Any)
                if value is not parameter.default and not fits(annotation, value):
                    raise WrongType(
                        f"{owner} expects `{name}` as {described(annotation)}; got {_shown(value)}. {_remedy(value, parameter)}"
                    )
            elif parameter.default is parameter.empty:
                raise WrongType(f"{owner} expects `{name}` as {described(types().get(name, Any))}; got none. Give it.")
        return function(*args, **kwargs)

    wrapper.__signature__ = signature  # type: ignore[attr-defined]
    return typing.cast(F, wrapper)


def constructor_arguments(owner: Any) -> dict[str, Any]:
    """Return the arguments of an object's constructor, from its attributes of the same names.

    Raises:
        AttributeError: if an argument has no attribute.

    Example:

    >>> class Blur:
    ...     def __init__(self, width, *, edges="zero", **kwargs):
    ...         self.width, self.edges = width, edges
    >>> constructor_arguments(Blur(3))
    {'width': 3, 'edges': 'zero'}
    """
    if type(owner).__init__ is object.__init__:
        return {}
    parameters = list(inspect.signature(type(owner).__init__).parameters.values())[1:]
    names = [parameter.name for parameter in parameters if parameter.kind in _NAMED]
    for name in names:
        if not hasattr(owner, name):
            kind = type(owner).__name__
            raise AttributeError(
                f"{kind} expects its argument `{name}` as an attribute of that name, so that it can be saved; it has none. "
                f"Write self.{name} = {name} in its constructor, or a get_config of its own."
            )
    return {name: getattr(owner, name) for name in names}


def _names_of(kind: type) -> tuple[str, ...]:
    """Return the names of the arguments of a class's constructor and of its base classes' constructors."""
    return tuple(
        {
            name: None
            for base in kind.__mro__
            if base is not object and "__init__" in vars(base)
            for name, parameter in inspect.signature(vars(base)["__init__"]).parameters.items()
            if parameter.kind in _NAMED and name != "self"
        }
    )


def _shown(value: Any) -> str:
    plain = isinstance(value, str | int | float | list | tuple | Mapping | NoneType | np.generic | np.ndarray)
    return brief(value) if plain else value.__name__ if inspect.isclass(value) else f"a {type(value).__name__}"


def _remedy(value: Any, parameter: inspect.Parameter) -> str:
    if inspect.isclass(value):
        return f"Call it: {value.__name__}()."
    if parameter.default is parameter.empty:
        return "Give such a value."
    return "Give one, or leave it out." if parameter.default is None else f"Give one, or leave it out for {parameter.default!r}."
