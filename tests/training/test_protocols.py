import ast
import inspect
from pathlib import Path

from mtl.heads import Classification
from mtl.training.protocols import Part, TrainableHead, TrainableModel
from tests.two_tasks import make_model

ROOT = Path(__file__).parents[2] / "mtl"


def members(protocol: type) -> set[str]:
    """Names that a protocol asks for."""
    names = set(protocol.__annotations__) | {name for name in vars(protocol) if inspect.isroutine(vars(protocol)[name])}
    names |= {name for name, value in vars(protocol).items() if isinstance(value, property)}
    return {name for name in names if not name.startswith("_")}


def attributes_read(folder: Path) -> set[str]:
    """Names of all attributes that the modules of a folder read."""
    trees = [ast.parse(path.read_text("utf-8")) for path in folder.rglob("*.py") if path.name != "protocols.py"]
    return {node.attr for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def test_models_give_what_the_engine_asks() -> None:
    """mypy compares the types; here the names, of which Keras's are not known to it."""
    model, head = make_model("sgd"), Classification(3)
    for protocol, given in (
        (TrainableModel, model),
        (TrainableHead, head),
        (Part, model.parts()["head/mood"]),
    ):
        assert members(protocol) and not [name for name in members(protocol) if not hasattr(given, name)]


def test_the_engine_asks_for_nothing_that_it_does_not_read() -> None:
    read = attributes_read(ROOT / "training")
    for protocol in (TrainableModel, TrainableHead, Part):
        assert members(protocol) <= read
