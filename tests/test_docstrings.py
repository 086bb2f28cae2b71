"""Docstrings: there where they must be, and their examples run. So do the code blocks of the README and of docs/."""

import ast
import doctest
import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import mtl

ROOT = Path(__file__).parent.parent
MODULES = ["mtl", *sorted(module.name for module in pkgutil.walk_packages(mtl.__path__, "mtl."))]
FAMILIES = ["balancing", "callbacks", "data", "encoders", "heads", "layers", "losses", "metrics", "penalties", "sharing"]
PAGES = [path for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))] if path.exists()]

#: What others derive from, or what is only handed on, needs no example of its own.
WITHOUT_EXAMPLE = {
    *("Balancer", "Encoder", "Encoding", "Example", "Head", "Part", "Penalty", "Sharing", "Source", "Target", "TaskMetric"),
}

#: A fenced block of Python; a comment `<!-- not run: REASON -->` on the line above leaves it out.
BLOCK = re.compile(r"(?P<left_out><!-- not run: [^\n]+ -->\n+)?^```python\n(?P<code>.*?)^```", re.DOTALL | re.MULTILINE)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def exported(module: ModuleType) -> dict[str, Any]:
    """The classes and functions that the module's `__all__` names."""
    objects = {name: getattr(module, name) for name in getattr(module, "__all__", ())}
    return {name: each for name, each in objects.items() if inspect.isclass(each) or inspect.isroutine(each)}


def is_file(module: ModuleType) -> bool:
    """Whether the module is a file of its own, not a package."""
    return not hasattr(module, "__path__")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=FLAGS, verbose=False)
    for case in doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name)):
        runner.run(case, out=report.append)
    assert not report, "".join(report)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_code_blocks_run(page: Path) -> None:
    """The blocks of one page run in its order and share their names."""
    text = page.read_text("utf-8")
    names: dict[str, Any] = {"__name__": "__main__"}
    report: list[str] = []
    for block in BLOCK.finditer(text):
        if block["left_out"]:
            continue
        line = text[: block.start("code")].count("\n")
        if block["code"].lstrip().startswith(">>>"):
            case = doctest.DocTestParser().get_doctest(block["code"], names, page.name, str(page), line)
            doctest.DocTestRunner(optionflags=FLAGS, verbose=False).run(case, out=report.append, clear_globs=False)
            names |= case.globs
        else:
            tree = ast.increment_lineno(ast.parse(block["code"], str(page)), line)
            exec(compile(tree, str(page), "exec"), names)
    assert not report, "".join(report)


def test_docstrings_exist() -> None:
    modules = [importlib.import_module(name) for name in MODULES]
    faults = [f"{module.__name__} does not say what it holds" for module in modules if not module.__doc__ and is_file(module)]
    faults += [
        f"{module.__name__}.{name} has no docstring"
        for module in modules
        for name, value in exported(module).items()
        if not (value.__doc__ or "").strip()
    ]
    assert not faults, "\n".join(faults)


def test_examples_exist() -> None:
    faults = [
        f"mtl.{family}.{name} has no example; add one under 'Example:'"
        for family in FAMILIES
        for name, value in exported(importlib.import_module(f"mtl.{family}")).items()
        if name not in WITHOUT_EXAMPLE and not re.search(r"Example:\s+(>>> |```python)", value.__doc__ or "")
    ]
    assert not faults, "\n".join(faults)
