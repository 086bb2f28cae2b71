import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mtl.commands.imported_modules import classes_of, import_modules, public_names


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_from_the_current_folder(folder: Path) -> None:
    (folder / "own_a.py").write_text("import own_b\nclass A: pass\ndef later():\n    import own_c\n    return own_c.C\n")
    (folder / "own_b.py").write_text("B = 1\n")
    (folder / "own_c.py").write_text("C = 3\n")
    (module,) = import_modules("own_a")
    assert module.__file__ and Path(module.__file__) == folder / "own_a.py" and module.own_b.B == 1 and module.later() == 3
    assert import_modules(["own_a", "own_a"]) == (module,)
    assert sys.path[-1] == str(folder) and sys.path.count(str(folder)) == 1


def test_a_module_of_a_package(folder: Path) -> None:
    (folder / "own_p").mkdir()
    (folder / "own_p" / "__init__.py").write_text("")
    (folder / "own_p" / "heads.py").write_text("class H: pass\n")
    (module,) = import_modules(["own_p.heads"])
    assert module.__name__ == "own_p.heads"


@pytest.mark.parametrize(
    ("code", "line", "message"),
    [
        ("a = 1\nb = c\n", 2, "NameError: name 'c' is not defined."),
        ("a = 1\n\nb = (\n", 3, "expected Python; got '(' was never closed."),
        ("import no_such_thing\n", 1, "No module named 'no_such_thing'."),
        ("from json import nothing\n", 1, "cannot import name 'nothing'"),
        ("import sys\nsys.exit('usage: ...')\n", 2, "SystemExit: usage: ..."),
        ("import keras\nkeras.layers.Dense(-1)\n", 2, "ValueError: "),
        ("def f():\n    raise RuntimeError('two\\nlines')\n\nf()\n", 2, "RuntimeError: two"),
    ],
)
def test_errors_name_file_and_line(folder: Path, code: str, line: int, message: str) -> None:
    (folder / "own_broken.py").write_text(code)
    with pytest.raises(ValueError) as raised:
        import_modules(["own_broken"])
    said = str(raised.value)
    assert said.startswith(f"{folder / 'own_broken.py'}, line {line}: {message}") and "\n" not in said
    assert str(folder) in sys.path and "own_broken" not in sys.modules


def test_errors_in_a_file_beside_it(folder: Path) -> None:
    (folder / "own_outer.py").write_text("\nimport own_inner\n")
    (folder / "own_inner.py").write_text("\n\n1 / 0\n")
    with pytest.raises(ValueError, match=r"own_inner.py, line 3: ZeroDivisionError: division by zero"):
        import_modules("own_outer")


@pytest.mark.parametrize("name", ["own_none", "json.own_none", "own_none.heads"])
def test_no_such_module(folder: Path, name: str) -> None:
    with pytest.raises(ModuleNotFoundError, match="No module '.*own_none' in the current folder, '.*', or on the Python path"):
        import_modules([name])


@pytest.mark.parametrize("name", ["own.py", "a/b", "", ".a", "--debug", "a b", 3])
def test_what_is_no_name(name: Any) -> None:
    with pytest.raises(ValueError, match="--import expects the name of a module, such as my_heads for my_heads.py; got"):
        import_modules([name])


def test_names(folder: Path) -> None:
    (folder / "own_names.py").write_text("class A: pass\nclass _B: pass\nc = 1\n")
    (folder / "own_listed.py").write_text("class A: pass\nclass B: pass\n__all__ = ['B']\n")
    names, listed = import_modules(["own_names", "own_listed"])
    assert public_names(names) == ["A", "c"] and public_names(listed) == ["B"]
    assert classes_of([names]) == {"A": names.A, "_B": names._B}
