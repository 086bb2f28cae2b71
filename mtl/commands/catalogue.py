"""Objects that a recipe may name: the public ones of a few packages and of the modules imported for it."""

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from mtl.commands.imported_modules import public_names
from mtl.commands.recipe_file import Document
from mtl.utils import brief, expanded, find_name, nearest, printable, unknown_name
from mtl.utils.types import described, fits

__all__ = ["KINDS", "Kind", "check", "construct", "names_of"]

Route = tuple[str, ...]


@dataclass(frozen=True)
class Kind:
    """A kind of object: the public names of `packages` that are subclasses of `base`, or functions that return one.

    The builder of a recipe passes the arguments `given`; its file must not.
    """

    packages: tuple[str, ...]
    base: str
    given: tuple[str, ...] = ()

    @property
    def base_class(self) -> type:
        """Class whose dotted path is `base`."""
        module, _, name = self.base.rpartition(".")
        return getattr(importlib.import_module(module), name)


KINDS: dict[str, Kind] = {
    "source": Kind(("mtl.data",), "mtl.data.source.Source"),
    "encoder": Kind(("mtl.encoders",), "mtl.encoders.encoder.Encoder"),
    "head": Kind(("mtl.heads",), "mtl.heads.head.Head"),
    "sharing": Kind(("mtl.sharing",), "mtl.sharing.sharing.Sharing"),
    "balancer": Kind(("mtl.balancing",), "mtl.balancing.balancer.Balancer"),
    "penalty": Kind(("mtl.penalties",), "mtl.penalties.penalty.Penalty"),
    "optimizer": Kind(("keras.optimizers", "mtl.transfer"), "keras.optimizers.Optimizer", given=("model", "steps")),
    "schedule": Kind(("keras.optimizers.schedules",), "keras.optimizers.schedules.LearningRateSchedule"),
    "callback": Kind(("mtl.callbacks",), "keras.callbacks.Callback"),
}

#: Arguments that take an object of a kind, written as NAME or {NAME: {argument: value}}.
PARTS = {"learning_rate": "schedule", "inner_optimizer": "optimizer", **{kind: kind for kind in KINDS}}
#: Arguments that name a file or folder; relative paths start at the folder of the recipe.
PATHS = ("path", "folder", "data_dir", "cache_dir", "log_dir", "embedding_matrix")
#: Argument that is a path if such a file or folder exists, and otherwise another name.
MAYBE_PATHS = ("preset",)
#: Types of arguments whose values are plain data.
PLAIN = (int, float, bool, str, NoneType)


def names_of(kind: str, modules: Sequence[ModuleType] = ()) -> dict[str, Callable[..., Any]]:
    """Return the objects of a kind by name.

    Args:
        kind: a key of `KINDS`.
        modules: the user's modules, besides the kind's packages.

    Raises:
        ValueError: a module defines a name that exists already.
    """
    base = KINDS[kind].base_class
    found: dict[str, Callable[..., Any]] = {}
    for module in (*map(importlib.import_module, KINDS[kind].packages), *modules):
        for name in public_names(module):
            value: Any = getattr(module, name)
            if not _is_of_kind(value, name, base):
                continue
            if module in modules and (taken := find_name(name, found)) and found[taken] is not value:
                place = f"{getattr(found[taken], '__module__', KINDS[kind].packages[0])}.{taken}"
                raise ValueError(f"The {kind} '{name}' of the module '{module.__name__}' has the name of '{place}'. Rename it.")
            found[name] = value
    return found


def _is_of_kind(value: Any, name: str, base: type) -> bool:
    """Return whether a public object is a subclass of `base`, or a function that returns one."""
    if inspect.isclass(value):
        return issubclass(value, base) and value is not base
    if not inspect.isfunction(value) or name == "get":
        return False
    returned = value.__annotations__.get("return")
    return returned is base or (isinstance(returned, str) and returned.rpartition(".")[2] == base.__name__)


def _found(document: Document, route: Route, kind: str, name: str) -> Callable[..., Any]:
    """Return the object with a name in a recipe.

    Raises:
        ValueError: nothing has that name.
    """
    options = names_of(kind, document.modules)
    found = find_name(name, options)
    if found is None:
        others = "" if document.modules else " A class of your own: --import MODULE, or imports=[...] in Python."
        raise document.error(route, f"{unknown_name(kind, name, options)}{others}")
    return options[found]


def check(document: Document, route: Route, kind: str) -> None:
    """Check the name and the argument names of one object of a recipe, and make relative paths absolute, in place.

    Args:
        document: the recipe.
        route: the route to the object.
        kind: a key of `KINDS`.

    Raises:
        ValueError: not NAME or {NAME: {argument: value}}, an unknown name or argument, a missing argument, or a value that is
            not of the argument's plain type. Names are compared without case, `_` and `-`.
    """
    name, arguments = _split(document, route, kind)
    function = _found(document, (*route, name), kind, name)
    check_arguments(document, (*route, name), function, arguments, KINDS[kind].given)


def check_arguments(
    document: Document, route: Route, function: Callable[..., Any], arguments: Any, given: tuple[str, ...] = ()
) -> None:
    """Check the arguments of a class or function, as `check` does; the file must leave out those `given`."""
    if not isinstance(arguments, dict):
        raise document.error(
            route, f"{route[-1]} expects arguments by name, {{argument: value}}; got {brief(arguments)}. Name them."
        )
    signature = list(inspect.signature(function).parameters.values())
    free = any(p.kind is p.VAR_KEYWORD for p in signature)
    taken = [p for p in signature if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    named = [p for p in taken if p.name not in given]
    options = list(dict.fromkeys([p.name for p in named] + (["name", "dtype"] if free and inspect.isclass(function) else [])))
    for argument in arguments:
        if argument in given and any(p.name == argument for p in taken):
            raise document.error((*route, argument), f"{route[-1]} gets '{argument}' from the training itself. Leave it out.")
        if argument not in options and not (free and not inspect.isclass(function)):
            raise document.error((*route, str(argument)), unknown_name(f"argument of {route[-1]}", argument, options))
    for parameter in named:
        if parameter.default is parameter.empty and parameter.name not in arguments:
            raise document.error(route, f"{route[-1]} needs the argument '{parameter.name}'. Add '{parameter.name}:'.")
    folder = Path(document.name).parent
    for argument, value in arguments.items():
        here = (*route, argument)
        if expected := next((_misfit(p.annotation, value) for p in named if p.name == argument), ""):
            raise document.error(here, f"'{argument}' of {route[-1]} is {expected}; got {brief(value)}.")
        if argument in PATHS:
            arguments[argument] = _absolute(value, folder)
        elif argument in MAYBE_PATHS and isinstance(value, str) and (folder / value).exists():
            arguments[argument] = _absolute(value, folder)
        elif argument == "tokenizer" and value is not None:
            _check_tokenizer(document, here, value)
        elif _is_part(document, argument, value):
            check(document, here, PARTS[argument])


def _check_tokenizer(document: Document, route: Route, value: Any) -> None:
    from mtl.data import Tokenizer

    if not isinstance(value, dict) or ("learn" in value) == ("folder" in value):
        raise document.error(
            route,
            f"a tokenizer is {{learn: character, size: 6000}} or {{folder: PATH}}; got {brief(value)}. Write one of the two.",
        )
    if "folder" in value:
        if len(value) > 1:
            given = brief(sorted(map(str, value)))
            raise document.error(route, f"a tokenizer from a folder takes no other argument; got {given}. Keep 'folder'.")
        value["folder"] = _absolute(value["folder"], Path(document.name).parent)
        return
    options = ["learn", *list(inspect.signature(Tokenizer.learn).parameters)[2:]]
    for argument in value:
        if argument not in options:
            raise document.error((*route, str(argument)), unknown_name("argument of the tokenizer", argument, options))


def construct(
    document: Document,
    route: Route,
    kind: str,
    tokenizer: Callable[[dict[str, Any]], Any] | None = None,
    given: Mapping[str, Any] | None = None,
) -> Any:
    """Create one object of a checked recipe, after the objects among its arguments.

    Args:
        document: the recipe.
        route: the route to the object.
        kind: a key of `KINDS`.
        tokenizer: function that creates a tokenizer from the recipe's description.
        given: values of the kind's `given` arguments, for the objects that take them.

    Raises:
        ValueError: the object rejects the values; with the place in the recipe.
    """
    name, arguments = _split(document, route, kind)
    function = _found(document, (*route, name), kind, name)
    taken = inspect.signature(function).parameters
    made = {each: value for each, value in (given or {}).items() if each in KINDS[kind].given and each in taken}
    for argument, value in arguments.items():
        here = (*route, name, argument)
        if argument == "tokenizer" and isinstance(value, dict) and tokenizer is not None:
            with document.located(here):
                value = tokenizer(value)
        elif _is_part(document, argument, value):
            value = construct(document, here, PARTS[argument], tokenizer, given)
        made[argument] = value
    with document.located((*route, name)):
        return function(**made)


def _split(document: Document, route: Route, kind: str) -> tuple[str, dict[str, Any]]:
    """Return the name and arguments of an object."""
    value = document.at(route)
    if isinstance(value, str):
        return value, {}
    if isinstance(value, dict) and len(value) == 1:
        name, arguments = next(iter(value.items()))
        return str(name), {} if arguments is None else arguments
    got = brief(value)
    if isinstance(value, dict) and len(value) > 1:
        known = [str(key) for key in value if nearest(str(key), names_of(kind, document.modules)) == str(key)]
        other = next((str(key) for key in value if str(key) not in known), "")
        got = f"the names {printable(', '.join(map(str, value)))[:200]}"
        if known and other:
            got += f" (did you mean '{'.'.join((*route, known[0], other))}'?)"
    raise document.error(route, f"expected one {kind} as NAME or {{NAME: {{argument: value}}}}; got {got}.")


def _misfit(annotation: Any, value: Any) -> str:
    """Return what an argument of plain types expects if a value has none of these types; else an empty text."""
    options = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    if fits(annotation, value) or any(getattr(option, "__origin__", option) not in PLAIN for option in options):
        return ""
    return described(annotation).replace("True or False", "true or false").replace("None", "null")


def _is_part(document: Document, argument: str, value: Any) -> bool:
    if argument not in PARTS or not isinstance(value, str | dict):
        return False
    return isinstance(value, dict) or find_name(value, names_of(PARTS[argument], document.modules)) is not None


def _absolute(value: Any, folder: Path) -> Any:
    """Return absolute paths for paths relative to the recipe: one, several, or by split."""
    if isinstance(value, str):
        return str((folder / expanded(value)).absolute())
    if isinstance(value, list):
        return [_absolute(item, folder) for item in value]
    if isinstance(value, dict):
        return {key: _absolute(each, folder) for key, each in value.items()}
    return value
