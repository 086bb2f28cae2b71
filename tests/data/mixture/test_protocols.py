from pathlib import Path

from mtl.data.mixture.protocols import LabelEncoder, LabelledTask, TextEncoder
from mtl.heads import Classification
from mtl.task import Task
from tests.tiny import Bag
from tests.training.test_protocols import attributes_read, members

ROOT = Path(__file__).parents[3] / "mtl"


def test_tasks_and_encoders_give_what_a_mixture_asks() -> None:
    task = Task("mood", Classification(3))
    given = ((LabelledTask, task), (LabelEncoder, task.head), (TextEncoder, Bag()))
    for protocol, value in given:
        assert members(protocol) and not [name for name in members(protocol) if not hasattr(value, name)]


def test_a_mixture_asks_for_nothing_that_it_does_not_read() -> None:
    read = attributes_read(ROOT / "data" / "mixture")
    for protocol in (LabelledTask, LabelEncoder, TextEncoder):
        assert members(protocol) <= read
