"""The page on classes of one's own, as a module that the command line imports."""

import ast
import json
import re
import sys
from pathlib import Path

import keras
import pytest
from typer.testing import CliRunner

from mtl.cli import app

# Keras reads variables as NumPy arrays in a way that NumPy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

PAGE = (Path(__file__).parent.parent / "docs" / "extending.md").read_text("utf-8")
PYTHON = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
(RECIPE,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
SERVE = """
    def serve(self, prediction, tokens):
        return {"stars": 1 + keras.ops.sum(keras.ops.cast(prediction > 0, "int32"), axis=-1)}
"""


def mtl(*arguments: object, input: str | None = None):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=input)


@pytest.fixture
def forgotten():
    """Removes the module and its class, as in a new process."""

    def forget() -> None:
        sys.modules.pop("my_heads", None)
        for name in [name for name in keras.saving.get_custom_objects() if name.startswith("my_heads>")]:
            del keras.saving.get_custom_objects()[name]

    forget()
    path = list(sys.path)
    yield forget
    forget()
    sys.path[:] = path


def test_no_example_is_long() -> None:
    kinds = (ast.ClassDef, ast.FunctionDef)
    nodes = [(node, block) for block in PYTHON for node in ast.parse(block).body if isinstance(node, kinds)]
    assert {node.name for node, _ in nodes} == {"Stars", "convolution", "Power", "SameLength", "Adapters", "L1"}
    for node, block in nodes:
        first = min(part.lineno for part in (node, *node.decorator_list))
        lines = block.split("\n")[first - 1 : node.end_lineno]
        assert sum(bool(line.strip()) for line in lines) <= 15, node.name


def test_a_head_of_ones_own_on_the_command_line(tmp_path: Path, monkeypatch, forgotten) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_heads.py").write_text(PYTHON[0] + SERVE)
    (tmp_path / "my.yaml").write_text(RECIPE)
    ratings = [("bad", 1), ("fine", 3), ("great", 5)]
    (tmp_path / "reviews.csv").write_text("text,stars\n" + "".join(f"{w} {i},{n}\n" for i in range(40) for w, n in ratings))
    plain = ["--set", "data.cache_dir=null"]

    without = mtl("train", "my.yaml", *plain)
    assert without.exit_code == 2 and "line 7: Unknown head 'Stars'" in without.stderr and "--import MODULE" in without.stderr
    trained = mtl("train", "my.yaml", *plain, "--import", "my_heads")
    assert trained.exit_code == 0, trained.output
    assert "mtl predict runs/stars - --import my_heads" in trained.output
    assert json.loads(Path("runs/stars/results.json").read_text())["scores"]["stars"]["accuracy"] == 1.0

    forgotten()
    for command in (
        ["predict", "runs/stars"],
        ["inspect", "runs/stars"],
        ["evaluate", "runs/stars"],
        ["export", "runs/stars", "x"],
    ):
        refused = mtl(*command, input="great 7\n")
        assert refused.exit_code == 2 and refused.stderr.count("\n") == 1
        assert "needs the class 'my_heads>Stars', which no imported module registers." in refused.stderr
    assert "my_heads" not in sys.modules  # Nothing that a file names is imported.

    predicted = mtl("predict", "--import=my_heads", "runs/stars", input="great 7\nbad 7\n")
    assert [json.loads(line)["predictions"]["stars"]["stars"] for line in predicted.stdout.splitlines()] == [5, 1]
    for command in (["inspect", "--import", "my_heads", "runs/stars"], ["--import", "my_heads", "inspect", "my.yaml"]):
        assert "Stars" in mtl(*command).output
    evaluated = mtl("evaluate", "runs/stars", "--data", "reviews.csv", "--import", "my_heads", "--json", "figures.json")
    assert evaluated.exit_code == 0 and json.loads(Path("figures.json").read_text())["stars"]["accuracy"] == 1.0
    exported = mtl("export", "runs/stars", "served", "--import", "my_heads")
    assert exported.exit_code == 0 and Path("served/saved_model.pb").exists(), exported.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inspect", "my.yaml", "--import"], "--import expects the name of a module, such as my_heads for my_heads.py; got ''"),
        (["inspect", "my.yaml", "--import", "my_heads.py"], "got 'my_heads.py'. Name the module."),
        (["inspect", "my.yaml", "--import", "my_none"], "No module 'my_none' in the current folder"),
        (["inspect", "my.yaml", "--import", "my_broken"], "my_broken.py, line 2: NameError: name 'heads' is not defined."),
    ],
)
def test_imports_that_fail_are_one_line(tmp_path: Path, monkeypatch, forgotten, arguments: list[str], message: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.yaml").write_text(RECIPE)
    (tmp_path / "my_broken.py").write_text("import mtl\nheads.Head\n")
    result = mtl(*arguments)
    assert result.exit_code == 2 and message in result.stderr and result.stderr.count("\n") == 1
