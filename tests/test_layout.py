"""The house rules, read from the files: floors, families, sizes. A failure names everything that is missing, and where."""

import ast
import importlib
import inspect
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LONGEST = 400

#: Parts of the package from the ground up; a module imports only from its own part and from lower floors. `mtl` is the package
#: itself, which exports what stands below it.
FLOORS = (
    {"backend", "utils", "version"},
    {"balancing", "data", "layers", "losses", "metrics", "penalties"},
    {"encoders", "heads", "sharing"},
    {"task"},
    {"predicting", "training"},
    {"export"},
    {"model"},
    {"loading"},
    {"baselines", "callbacks", "reports", "transfer"},
    {"mtl"},
    {"commands"},
    {"recipe"},
    {"cli"},
)
FLOOR_OF = {part: floor for floor, parts in enumerate(FLOORS) for part in parts}

#: What a module may import when it is itself imported; anything else is imported by the function that uses it. `import mtl` does
#: not reach the recipes and commands above it.
LIGHT = sys.stdlib_module_names | {"keras", "mtl", "numpy", "tensorflow"}
LIGHT_FOR_COMMANDS = LIGHT | {"rich", "typer", "yaml"}

#: Families of classes by their folder: what all members derive from, and what the files of their contract table are named after,
#: if there is one. The folder's first part is the package that exports them.
FAMILIES = {
    "balancing/methods": ("mtl.balancing.Balancer", "balancers"),
    "encoders": ("mtl.encoders.Encoder", "encoders"),
    "heads": ("mtl.heads.Head", "heads"),
    "layers": ("keras.layers.Layer", None),
    "metrics": ("mtl.metrics.TaskMetric", None),
    "penalties": ("mtl.penalties.Penalty", None),
    "sharing": ("mtl.sharing.Sharing", "sharing"),
}

#: Files that are not named after their class, whose name would mislead in a list of files.
FILES = {"ConFIG": "conflictfree"}


def modules(folder: str = "") -> list[Path]:
    return sorted((ROOT / "mtl" / folder).rglob("*.py"))


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def part_of(path: Path) -> str:
    """`heads` for mtl/heads/tagging.py, `task` for mtl/task.py, `mtl` for mtl/__init__.py."""
    first = path.relative_to(ROOT / "mtl").parts[0]
    return "mtl" if first == "__init__.py" else first.removesuffix(".py")


def imported(node: ast.AST) -> Iterator[str]:
    """Full names that one statement imports: `from a import b` gives `a.b`."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from (f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names)


def outside_functions(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run when the module is imported."""
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield node
            yield from outside_functions(node)


def floor_faults(path: Path, tree: ast.Module) -> list[str]:
    part = part_of(path)
    if part not in FLOOR_OF:
        return [f"{relative(path)}: '{part}' stands on no floor; give it one in FLOORS of tests/test_layout.py"]
    faults = []
    for node in ast.walk(tree):
        for name in imported(node):
            package, _, rest = name.partition(".")
            other = rest.partition(".")[0]
            other = other if other in FLOOR_OF else "mtl"
            where = f"{relative(path)}:{getattr(node, 'lineno', 0)}"
            if not package:
                faults.append(f"{where}: a relative import; write the full name")
            elif package == "mtl" and other != part and FLOOR_OF[other] >= FLOOR_OF[part]:
                faults.append(f"{where}: imports '{name}'; '{part}' must not know '{other}', which stands beside or above it")
    return faults


def weight_faults(path: Path, tree: ast.Module) -> list[str]:
    allowed = LIGHT_FOR_COMMANDS if FLOOR_OF.get(part_of(path), 0) > FLOOR_OF["mtl"] else LIGHT
    names = [name for node in outside_functions(tree) for name in imported(node)]
    heavy = sorted({name for name in names if name.partition(".")[0] not in allowed})
    return [f"{relative(path)}: imports '{name}' at its top; import it in the function that uses it" for name in heavy]


def size_faults(path: Path, tree: ast.Module) -> list[str]:
    lines = path.read_text("utf-8").count("\n")
    return [f"{relative(path)} has {lines} lines; more than {LONGEST} are two things in one file"] if lines > LONGEST else []


def name_faults(path: Path, tree: ast.Module) -> list[str]:
    if ast.get_docstring(tree) and len(tree.body) == 1:  # A folder that only groups its modules.
        return []
    targets = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
    listed = any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets)
    return [] if listed else [f"{relative(path)} has no __all__; list its public names"]


def mirror_faults(path: Path, tree: ast.Module) -> list[str]:
    test = ROOT / "tests" / path.relative_to(ROOT / "mtl").with_name(f"test_{path.name}")
    if path.name in ("__init__.py", "version.py") or test.exists():
        return []
    return [f"{relative(path)} has no test file; write {relative(test)}"]


@pytest.mark.parametrize("faults_of", [floor_faults, weight_faults, size_faults, name_faults, mirror_faults])
def test_every_module(faults_of: Callable[[Path, ast.Module], list[str]]) -> None:
    faults = [fault for path in modules() for fault in faults_of(path, tree_of(path))]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("path", "code", "faults"),
    [
        ("heads/a.py", "from mtl.data import x", 0),
        ("heads/a.py", "from mtl.heads.b import x", 0),
        ("heads/a.py", "from mtl.encoders import x", 1),
        ("heads/a.py", "class A:\n    def f(self):\n        import mtl.sharing.hard", 1),
        ("heads/a.py", "from .b import x", 1),
        ("data/a.py", "from mtl.layers import x\nfrom mtl import losses", 2),
        ("model.py", "from mtl import Task", 1),
        ("__init__.py", "from mtl.model import MultiTaskModel", 0),
        ("__init__.py", "from mtl import recipe", 1),
        ("recipe.py", "import mtl", 0),
        ("commands/a.py", "from mtl.commands.b import x\nfrom mtl.recipe import Recipe", 1),
        ("novelty.py", "", 1),
    ],
)
def test_floors_are_guarded(path: str, code: str, faults: int) -> None:
    assert len(floor_faults(ROOT / "mtl" / path, ast.parse(code))) == faults


@pytest.mark.parametrize(
    ("path", "code", "faults"),
    [
        ("data/a.py", "import csv, keras", 0),
        ("data/a.py", "def f():\n    import pandas", 0),
        ("data/a.py", "import pandas", 1),
        ("data/a.py", "class A:\n    if True:\n        from sklearn.metrics import f1_score", 1),
        ("data/a.py", "import yaml", 1),
        ("cli.py", "import yaml", 0),
    ],
)
def test_heavy_imports_are_seen(path: str, code: str, faults: int) -> None:
    assert len(weight_faults(ROOT / "mtl" / path, ast.parse(code))) == faults


def members(family: str) -> list[type]:
    """The public classes of a family, without the one that all derive from."""
    package, _, name = FAMILIES[family][0].rpartition(".")
    base = getattr(importlib.import_module(package), name)
    files = [path.stem for path in modules(family) if path.name != "__init__.py"]
    modules_of = f"mtl.{family.replace('/', '.')}"
    found = [value for stem in files for value in vars(importlib.import_module(f"{modules_of}.{stem}")).values()]
    classes = {value for value in found if inspect.isclass(value) and issubclass(value, base) and value is not base}
    public = [m for m in classes if m.__module__.startswith(f"{modules_of}.") and not m.__name__.startswith("_")]
    return sorted(public, key=lambda member: member.__name__)


def names_in_tables(table: str) -> set[str]:
    """Every name that a family's contract tables use, tests/contracts/*TABLE*.py, imports left out."""
    nodes = [node for path in (ROOT / "tests" / "contracts").glob(f"*{table}*.py") for node in ast.walk(tree_of(path))]
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    return names | {node.attr for node in nodes if isinstance(node, ast.Attribute)}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_member_of_a_family(family: str) -> None:
    package, table = f"mtl.{family.partition('/')[0]}", FAMILIES[family][1]
    exported, faults, classes = importlib.import_module(package).__all__, [], members(family)
    for name, stem in ((member.__name__, member.__module__.rpartition(".")[2]) for member in classes):
        if stem.replace("_", "") != FILES.get(name, name.lower()):
            faults.append(f"{name} stands in mtl/{family}/{stem}.py; give it a file of its own that is named after it")
        if name not in exported:
            faults.append(f"{name} is not in __all__ of {package}")
        if table and name not in names_in_tables(table):
            faults.append(f"{name} has no row in the table of tests/contracts/*{table}*.py")
    shared = [module for module, count in Counter(member.__module__ for member in classes).items() if count > 1]
    faults += [f"{module} holds several members; give each a file of its own" for module in shared]
    assert classes, f"mtl.{family} has no member"
    assert not faults, "\n".join(faults)


def test_every_source() -> None:
    """A source is a function that returns a `Source` and that mtl.data exports or its file is named after."""
    exported, tables, faults, sources = importlib.import_module("mtl.data").__all__, names_in_tables("sources"), [], 0
    for path in modules("data/sources"):
        for node in tree_of(path).body:
            if not isinstance(node, ast.FunctionDef) or node.returns is None or ast.unparse(node.returns) != "Source":
                continue
            if node.name == path.stem or node.name in exported:
                sources += 1
                if node.name not in exported:
                    faults.append(f"{node.name} of {relative(path)} is not in __all__ of mtl/data/__init__.py")
                if node.name not in tables:
                    faults.append(f"{node.name} of {relative(path)} has no row in the table of tests/contracts/*sources*.py")
    assert sources, "mtl.data has no source"
    assert not faults, "\n".join(faults)
