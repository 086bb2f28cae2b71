"""The benchmarks of speed: their arithmetic, and that each command runs, at its smallest."""

import json
import subprocess
import sys
from importlib import util
from pathlib import Path

import numpy as np
import pytest
import typer

import mtl
from benchmarks import common

ROOT = Path(__file__).parent.parent.parent


def test_spread_and_ratios_by_hand() -> None:
    assert common.spread([3.0, 1.0, 8.0]) == {"median": 3.0, "least": 1.0, "greatest": 8.0}
    assert common.ratios([2.0, 9.0], [1.0, 3.0]) == {"median": 2.5, "least": 2.0, "greatest": 3.0}
    assert common.cell({"median": 1500.0, "least": 1.0, "greatest": 2000.0}, 1, 0.1) == "150.0 (0.1 to 200.0)"


def test_sides_take_turns() -> None:
    order: list[str] = []
    taken = common.paired({"one": lambda: order.append("one"), "other": lambda: order.append("other")}, 3)
    assert order == ["one", "other", "other", "one", "one", "other"]
    assert [len(each) for each in taken.values()] == [3, 3]


def test_lengths_are_those_of_the_corpus(tmp_path: Path) -> None:
    (tmp_path / "snips" / "train").mkdir(parents=True)
    (tmp_path / "snips" / "train" / "seq.in").write_text("play some jazz\nrain\n")
    (tmp_path / "sick").mkdir()
    (tmp_path / "sick" / "SICK_train.txt").write_text("id\tA\tB\tscore\n1\ta b\tc d e\t4.5\n")
    assert set(common.lengths_of("snips", tmp_path, 50)) == {3, 1}
    assert set(common.lengths_of("sick", tmp_path, 5)) == {5}
    drawn = common.lengths_of("news", None, 1000)
    assert drawn.max() == 254 and 150 < np.mean(drawn) < 254


def test_a_peer_that_is_missing_is_named() -> None:
    with pytest.raises(typer.BadParameter, match="needs 'no-such-package', which is not installed: pip install"):
        common.peer("no-such-package")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "peers", "figures"),
    [
        ("input", ["datasets"], {"snips", "news", "cache"}),
        ("many_tasks", [], {"1", "2"}),
        ("overhead", [], {"first step", "float32", "bfloat16"}),
        ("replicas", [], {"seconds", "ratios"}),
        ("throughput", ["torch", "transformers"], {"Transformer float32", "Transformer bfloat16", "Recurrent float32"}),
    ],
)
def test_commands_run(name: str, peers: list[str], figures: set[str], tmp_path: Path) -> None:
    for peer in peers:
        if util.find_spec(peer) is None:
            pytest.skip(f"{peer} is not installed")
    file = tmp_path / "figures.json"
    command = [sys.executable, "-m", f"benchmarks.{name}", "--quick", "--json", str(file)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    document = json.loads(file.read_text("utf-8"))
    assert set(document["figures"]) == figures and document["versions"]["mtl"] == mtl.__version__
    assert "median (least to greatest)" in " ".join(run.stdout.split())
