"""Types of arguments: checks of values, and descriptions in words."""

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import numpy as np

__all__ = [
    "Between",
    "Count",
    "Finite",
    "Positive",
    "PositiveShare",
    "Range",
    "Rate",
    "Share",
    "Size",
    "Weight",
    "described",
    "fits",
]


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`; `open` contains `(` if `low` is excluded, and `)` if `high` is excluded."""

    low: float = -math.inf
    high: float = math.inf
    open: str = ""

    def __contains__(self, value: Any) -> bool:
        above = value > self.low if "(" in self.open else value >= self.low
        return bool(above and (value < self.high if ")" in self.open else value <= self.high))

    def __str__(self) -> str:
        low = "" if self.low == -math.inf else f" {'above' if '(' in self.open else 'from'} {self.low:g}"
        return low + ("" if self.high == math.inf else f" to {'below ' if ')' in self.open else ''}{self.high:g}")


#: Number of objects of which at least one must exist: layers, units, steps.
Count = Annotated[int, Range(1)]
#: A size, or a seed, that may be 0.
Size = Annotated[int, Range(0)]
#: Share below 1, such as a dropout rate.
Rate = Annotated[float, Range(0, 1, ")")]
#: A share of a whole, both ends included.
Share = Annotated[float, Range(0, 1)]
#: Share of a whole, 0 excluded.
PositiveShare = Annotated[float, Range(0, 1, "(")]
#: Share of a whole, both ends excluded.
Between = Annotated[float, Range(0, 1, "()")]
#: A finite number.
Finite = Annotated[float, Range(-math.inf, math.inf, "()")]
#: A finite number from 0.
Weight = Annotated[float, Range(0, math.inf, ")")]
#: A finite number above 0.
Positive = Annotated[float, Range(0, math.inf, "()")]

_NAMES: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "a text",
    NoneType: "None",
    np.ndarray: "an array",
}


def described(annotation: Any) -> str:
    """Return a description of the values of a type.

    Example:

    >>> described(Count | None)
    'a whole number from 1 or None'
    """
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        words, finite = described(parts[0]), parts[1].high == math.inf and ")" in parts[1].open
        return f"{words.replace('a number', 'a finite number') if finite else words}{parts[1]}"
    if origin in (Union, UnionType):
        kinds = list(dict.fromkeys(described(part) for part in parts))
        return f"{', '.join(kinds[:-1])} or {kinds[-1]}" if len(kinds) > 1 else kinds[0]
    if origin is Literal:
        return f"{'one of ' * (len(parts) > 1)}{', '.join(map(repr, parts))}"
    kind = origin or annotation
    if kind in _NAMES:
        return _NAMES[kind]
    if kind is Callable:
        return "a function"
    if inspect.isclass(kind) and issubclass(kind, Mapping):
        return "a dict" + (f" (each value {described(parts[1])})" if parts and parts[1] is not Any else "")
    if inspect.isclass(kind) and issubclass(kind, Sequence | Iterable) and parts:
        item = next((part for part in parts if part is not Ellipsis), Any)
        return "a list" + ("" if item is Any or isinstance(item, TypeVar) else f" (each item {described(item)})")
    if getattr(kind, "__name__", "") in ("Path", "PathLike"):
        return "a path"
    name, module = getattr(kind, "__name__", str(kind)), getattr(kind, "__module__", "").split(".")
    if module[0] == "mtl":
        return ".".join(["a mtl", *module[1:-1], name])
    return f"{'an' if name[:1] in 'AEIOU' else 'a'} {name}"


def fits(annotation: Any, value: Any) -> bool:
    """Return whether a value is of a type; items of lists and dicts are checked, those of iterators are not.

    A `float` may be a whole number but not NaN; an `int` may not be a `bool`; a text is not a list of its characters.

    Example:

    >>> fits(Count, 0), fits(float, 2), fits(list[str], "ab"), fits(dict[str, float], {"a": float("nan")})
    (False, True, False, False)
    """
    origin, parts = get_origin(annotation), get_args(annotation)
    if annotation is Any or isinstance(annotation, (str, TypeVar)) or annotation is inspect.Parameter.empty:
        return True
    if origin is Annotated:
        return fits(parts[0], value) and value in parts[1]
    if origin in (Union, UnionType):
        return any(fits(part, value) for part in parts)
    if origin is Literal:
        return any(type(value) is type(part) and value == part for part in parts)
    kind = origin or annotation
    if kind in (None, NoneType):
        return value is None
    if kind is float:
        return isinstance(value, Real) and not isinstance(value, bool) and bool(value == value)
    if kind is int:
        return isinstance(value, Integral) and not isinstance(value, bool)
    if kind is bool:
        return isinstance(value, bool | np.bool_)
    if kind is Callable:
        return callable(value)
    if not inspect.isclass(kind) or getattr(kind, "_is_protocol", False) and not issubclass(kind, Iterable):
        return True
    if issubclass(kind, Mapping):
        return isinstance(value, Mapping) and (
            not parts or all(fits(parts[0], key) and fits(parts[1], item) for key, item in value.items())
        )
    if issubclass(kind, str | bytes):
        return isinstance(value, kind)
    if kind is tuple and parts:
        items = (parts[0],) * len(value) if parts[1:] == (...,) and isinstance(value, list | tuple) else parts
        return isinstance(value, list | tuple) and len(value) == len(items) and all(map(fits, items, value))
    if issubclass(kind, Iterable) and parts:
        if isinstance(value, str | bytes | Mapping):
            return False
        if isinstance(value, np.ndarray):
            return value.ndim > 0 and all(fits(parts[0], item) for item in value)
        if isinstance(value, list | tuple):
            return issubclass(kind, Sequence | Iterable) and all(fits(parts[0], item) for item in value)
        return isinstance(value, kind)
    return isinstance(value, kind)
