"""YAML of a recipe: plain data, and the place of each part in the file."""

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from mtl.utils import brief, one_sentence, printable, regular_file, unknown_name
from mtl.utils.foreign import reason_of

__all__ = ["Document", "parse_yaml"]

Route = tuple[str, ...]

#: Limits of a recipe: bytes, nesting levels, and values, counted with aliases expanded.
BYTES, DEPTH, VALUES = 2**20, 50, 20_000


class _Loader(yaml.SafeLoader):
    """Loader of plain data. Scalars are read as in YAML 1.2: `no` is a text, `1e-3` a number, `2020-01-01` not a date."""

    yaml_implicit_resolvers: dict[str, Any] = {}


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(?:0|[1-9][0-9_]*)|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?\.inf", "-+0123456789."),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first))


def parse_yaml(text: str, name: str) -> tuple[Any, dict[Route, int]]:
    """Return the data of a YAML text, and the line of each key.

    Args:
        text: the YAML.
        name: its name in errors.

    Raises:
        ValueError: not YAML, a tag that would create an object, a repeated key, or more text, levels or values than a recipe may
            have.
    """
    lines: dict[Route, int] = {}
    if len(text) > BYTES:
        raise ValueError(f"{name}: expected at most {BYTES:,} characters; got {len(text):,}. Put data into files of their own.")
    try:
        _measure(text, name)
        loader = _Loader(text)
        node = loader.get_single_node()
        _walk(node, (), lines, name, set())
        data = _construct(loader, node, name)
    except yaml.constructor.ConstructorError as error:
        raise ValueError(f"{_place(name, error)}: expected plain YAML data, got {_reason(error)}.") from error
    except yaml.MarkedYAMLError as error:
        raise ValueError(f"{_place(name, error)}: expected YAML, got {_reason(error)}. Mend the indents or quotes.") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{name}: expected YAML, got {' '.join(str(error).split())}.") from error
    return data, lines


def _construct(loader: _Loader, node: Any, name: str) -> Any:
    try:
        return None if node is None else loader.construct_document(node)
    except (ValueError, OverflowError) as error:  # A number with thousands of digits.
        raise ValueError(f"{name}: expected plain YAML data, got a value that cannot be read: {error}.") from error


def _measure(text: str, name: str) -> None:
    """Check levels, values and tags of a YAML text before any object is created."""
    total = 0
    open_nodes: list[tuple[str | None, int]] = []  # Anchor of each open node, and the number of values before it.
    sizes: dict[str, int | None] = {}  # Anchor -> number of values of its alias; None within the node itself.
    for event in yaml.parse(text, _Loader):
        place = f"{name}, line {event.start_mark.line + 1}" if event.start_mark else name
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in sizes and sizes[event.anchor] is None:
                raise ValueError(f"{place}: '*{event.anchor}' stands within what it repeats. Write the part out.")
            total += sizes.get(str(event.anchor)) or 1
        elif isinstance(event, yaml.NodeEvent):
            tag = getattr(event, "tag", None)
            if tag not in (None, "tag:yaml.org,2002:str"):
                tag = tag.replace("tag:yaml.org,2002:", "!!")
                raise ValueError(f"{place}: expected plain YAML data, got the tag '{printable(tag[:80])}'. Leave it out.")
            total += 1
            if isinstance(event, yaml.CollectionStartEvent):
                open_nodes.append((event.anchor, total))
            if event.anchor:
                sizes[event.anchor] = None if isinstance(event, yaml.CollectionStartEvent) else 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor:
                sizes[anchor] = total - before + 1
        if len(open_nodes) > DEPTH:
            raise ValueError(f"{place}: expected at most {DEPTH} levels within each other; got more. Flatten the recipe.")
        if total > VALUES:
            raise ValueError(
                f"{place}: expected at most {VALUES:,} values, those of aliases included; got more. Put data into files."
            )


def _place(name: str, error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    return f"{name}, line {mark.line + 1}" if mark else name


def _reason(error: yaml.MarkedYAMLError) -> str:
    return printable(" ".join(f"{error.context or ''} {error.problem or ''}".split())[:200])


def _walk(node: Any, route: Route, lines: dict[Route, int], name: str, seen: set[int]) -> None:
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*route, str(key.value))
            line = key.start_mark.line + 1
            if here in lines and key.value != "<<":
                raise ValueError(
                    f"{name}, line {line}: '{_what(here[-1])[1:-1]}' stands twice, first in line {lines[here]}. Keep one."
                )
            lines[here] = line
            _walk(value, here, lines, name, seen)
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            lines[(*route, str(i))] = value.start_mark.line + 1
            _walk(value, (*route, str(i)), lines, name, seen)


class Document:
    """Data of a recipe, changed by `PATH=VALUE` settings, with the place of each of its parts.

    Args:
        data: the whole recipe.
        lines: the line of each key.
        name: its name in errors.
        modules: the user's modules, whose classes it may name.
    """

    def __init__(self, data: Any, lines: Mapping[Route, int], name: str, modules: Sequence[ModuleType] = ()):
        if not isinstance(data, dict):
            raise ValueError(f"{name}: a recipe holds sections such as 'sources:' and 'tasks:'; got {_what(data)}.")
        self.data: dict[str, Any] = data
        self.name = name
        self.modules = tuple(modules)
        self._places: dict[Route, str] = {route: f"{name}, line {line}" for route, line in lines.items()}

    @classmethod
    def read(cls, path: Path, modules: Sequence[ModuleType] = ()) -> "Document":
        """Return the document in a file."""
        try:
            if (size := regular_file(path).stat().st_size) > 4 * BYTES:
                raise ValueError(f"{path}: expected a recipe of at most {BYTES:,} characters; got {size:,} bytes. Name a recipe.")
            text = path.read_text("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: expected UTF-8 text; got the byte 0x{error.object[error.start]:02x}.") from error
        except FileNotFoundError as error:
            raise FileNotFoundError(f"No recipe '{path}'. Give the path of a YAML file.") from error
        return cls(*parse_yaml(text, str(path)), str(path), modules)

    def place(self, route: Route) -> str:
        """Return the place of a part: file and line, or the setting that gave it; else the place of the enclosing part."""
        for length in range(len(route), 0, -1):
            if route[:length] in self._places:
                return self._places[route[:length]]
        return self.name

    def at(self, route: Route) -> Any:
        """Return the part at a route."""
        value: Any = self.data
        for key in route:
            value = value[int(key)] if isinstance(value, list) else value[key]
        return value

    def find(self, route: Route) -> Any:
        """Return the part at a route, or None."""
        value: Any = self.data
        for key in route:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def section(self, name: str) -> dict[str, Any]:
        """Return a section of names and values; empty if there is none.

        Raises:
            ValueError: it holds something else.
        """
        value = self.data.get(name)
        if value is not None and not isinstance(value, dict):
            raise self.error((name,), f"expected '{name}' to hold 'key: value' lines; got {brief(value)}.")
        return value or {}

    def error(self, route: Route, message: Any) -> ValueError:
        """Return a `ValueError` whose message begins with the place."""
        return ValueError(one_sentence(f"{self.place(route)}: {message}"))

    @contextlib.contextmanager
    def located(self, route: Route) -> Iterator[None]:
        """Context that adds the place of a part to errors, and the settings that changed it."""
        import tensorflow as tf

        within = [place for each, place in self._places.items() if place.startswith("--set ") and each[: len(route)] == route]
        place = self.place(route)
        if within and place not in within:
            place += f" with {' '.join(within)}"
        try:
            yield
        except OSError as error:
            raise type(error)(one_sentence(f"{place}: {error}")) from error
        except (ValueError, TypeError) as error:
            raise ValueError(one_sentence(f"{place}: {error}")) from error
        except (ArithmeticError, AttributeError, LookupError, MemoryError, tf.errors.OpError) as error:  # Invalid values.
            raise ValueError(f"{place}: {type(error).__name__}: {reason_of(error)} Check the values there.") from error

    def set(self, settings: Iterable[str] | Mapping[str, Any], known: Mapping[Route, Iterable[str]]) -> None:
        """Change parts, as in `encoder.Recurrent.units=200`.

        Args:
            settings: `PATH=VALUE` texts, their values in YAML; or path -> value.
            known: route -> keys that are allowed there, and are added if the file does not have them.

        Raises:
            ValueError: no such path, or no `=`.
        """
        if isinstance(settings, str):
            settings = [settings]
        if not isinstance(settings, Mapping):
            pairs = []
            for setting in settings:
                path, equals, text = setting.partition("=")
                if not equals or not path.strip():
                    raise ValueError(f"A setting is PATH=VALUE, such as train.epochs=1; got '{setting}'.")
                pairs.append((path.strip(), parse_yaml(text, f"--set {setting}")[0], text))
        else:
            pairs = [(path, value, str(value)) for path, value in settings.items()]
        for path, value, text in pairs:
            self._set(tuple(path.split(".")), value, f"--set {path}={text}", known)

    def _set(self, route: Route, value: Any, place: str, known: Mapping[Route, Iterable[str]]) -> None:
        at: Any = self.data
        for depth, key in enumerate(route):
            here, last = route[: depth + 1], depth == len(route) - 1
            if isinstance(at, list):
                if not key.isdigit() or int(key) >= len(at):
                    raise ValueError(f"{place}: '{'.'.join(route[:depth])}' has the items 0 to {len(at) - 1}; got '{key}'.")
                index: Any = int(key)
            elif isinstance(at, dict):
                index = next((known_key for known_key in at if str(known_key) == key), key)
                if index not in at and not last:
                    options = known.get(route[:depth], ())
                    if key not in options:
                        paths = [".".join((*route[:depth], str(each))) for each in {**at, **dict.fromkeys(options)}]
                        raise ValueError(f"{place}: {unknown_name('path', '.'.join(here), paths)}")
                    at[index] = {}
            else:
                raise ValueError(f"{place}: '{'.'.join(route[:depth])}' is {_what(at)}, which has no part '{key}'.")
            if last:
                at[index] = value
            elif at[index] is None:
                at[index] = {}
            elif at[index] == route[depth + 1]:  # NAME becomes {NAME: {}}, to which the argument is added.
                at[index] = {at[index]: {}}
            if not last:
                at = at[index]
        self._places = {each: where for each, where in self._places.items() if each[: len(route)] != route}
        self._places[route] = place


def _what(value: Any) -> str:
    if value is None:
        return "nothing"
    return f"'{printable(str(value)[:80])}'" if isinstance(value, (str, int, float)) else f"a {type(value).__name__}"
