"""Import of the user's modules, whose classes recipes and saved models may name."""

import importlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from mtl.utils import brief, one_sentence
from mtl.utils.foreign import reason_of

__all__ = ["classes_of", "import_modules", "public_names"]

_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


def import_modules(names: str | Iterable[str]) -> tuple[ModuleType, ...]:
    """Import modules by name, from the current folder or the Python path; imported ones are not run again.

    Args:
        names: names such as `"my_heads"` or `"my_package.heads"`.

    Raises:
        ValueError: not the name of a module, or the module raises an error; with the file and line.
        ModuleNotFoundError: there is no such module.

    Example:

    >>> [module.__name__ for module in import_modules(["json", "json.decoder"])]
    ['json', 'json.decoder']
    >>> import_modules("my_heads.py")
    Traceback (most recent call last):
    ...
    ValueError: --import expects the name of a module, such as my_heads for my_heads.py; got 'my_heads.py'. Name the module.
    """
    return tuple(map(_imported, dict.fromkeys([names] if isinstance(names, str) else names)))


def _imported(name: str) -> ModuleType:
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name.endswith(".py"):
        raise ValueError(
            f"--import expects the name of a module, such as my_heads for my_heads.py; got {brief(name)}. Name the module."
        )
    if name in sys.modules:
        return sys.modules[name]
    here = str(Path.cwd())
    sys.path.insert(0, here)  # First while the module is imported, and last afterwards.
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            raise ModuleNotFoundError(
                f"No module '{error.name}' in the current folder, '{here}', or on the Python path. "
                "Change to the folder that holds it, or check --import.",
                name=error.name,
            ) from error
        raise ValueError(one_sentence(f"{_place(name, error)}: {_reason(error)}")) from error
    finally:
        sys.path.remove(here)
        if here not in sys.path and "" not in sys.path:
            sys.path.append(here)


def _place(name: str, error: BaseException) -> str:
    """Return file and line of the error of an import: the innermost in the module's folder."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _is_own(Path(frame.filename), name.partition(".")[0])]
    return f"{own[-1].filename}, line {own[-1].lineno}" if own else f"--import {name}"


def _is_own(file: Path, name: str) -> bool:
    """Return whether a file belongs to a package, or is in the folder of a module."""
    spec = importlib.util.find_spec(name)
    if spec is None:
        return False
    if spec.submodule_search_locations:
        return any(file.is_relative_to(folder) for folder in spec.submodule_search_locations)
    return spec.origin is not None and file.parent == Path(spec.origin).parent


def _reason(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"expected Python; got {error.msg}. Mend the module."
    kind = "" if isinstance(error, ImportError) else f"{type(error).__name__}: "
    return f"{kind}{reason_of(error)} Mend the module."


def public_names(module: ModuleType) -> list[str]:
    """Return the names in the `__all__` of a module, or all that do not begin with `_`."""
    return list(getattr(module, "__all__", None) or [name for name in dir(module) if not name.startswith("_")])


def classes_of(modules: Sequence[ModuleType]) -> dict[str, Any]:
    """Return the classes of modules by their names in configurations of saved objects."""
    found = [value for module in modules for value in vars(module).values() if inspect.isclass(value)]
    return {kind.__name__: kind for kind in found}
