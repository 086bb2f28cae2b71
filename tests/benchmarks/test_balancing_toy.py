"""The toy problem of the balancers: its losses, its Pareto set, a walk, the picture."""

import math
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

import mtl
from benchmarks import balancing_toy as toy


def test_losses_by_hand() -> None:
    # In the bowls: tanh(4) ((7 - 1)^2 / 10 - 20), and (7 + 1)^2 for the other.
    low = toy.losses(np.array([1.0, -8.0])).numpy()
    assert low == pytest.approx([math.tanh(4) * (3.6 - 20), math.tanh(4) * (6.4 - 20)])
    # In the valleys: |0.5 (-1 - 7) + tanh 2| = 4 - tanh 2, and |0.5 (-1 + 3) + tanh 2 + 2| = 3 + tanh 2.
    high = toy.losses(np.array([1.0, 2.0])).numpy()
    valleys = 4 - math.tanh(2), 3 + math.tanh(2)
    assert high == pytest.approx([math.tanh(1) * (math.log(each) + 6) for each in valleys])


def test_losses_stay_above_the_shift() -> None:
    side = np.linspace(-12, 12, 97)
    assert toy.losses(np.stack(np.meshgrid(side, side), axis=-1)).numpy().min() + toy.SHIFT > 0


def test_pareto_set() -> None:
    front = toy.pareto_set(101)
    assert front[50] == pytest.approx([0.0, -8.3552], abs=1e-3)  # as published for this problem
    at = toy.losses(front).numpy()
    # Along it one loss only falls and the other only rises.
    assert (np.diff(at[:, 0]) < 0).all() and (np.diff(at[:, 1]) > 0).all()


def test_distances() -> None:
    found = toy.distances(np.array([[0.0, 1.6448], [9.0, -8.4]]))
    assert found == pytest.approx([10.0, 2.0], abs=0.05)


def test_all_methods_are_there() -> None:
    assert set(toy.METHODS) == set(mtl.balancing.__all__) - {"Balancer", "Diagnosis", "diagnose", "get"}
    assert all(type(make(100)).__name__ == name for name, make in toy.METHODS.items())


@pytest.mark.parametrize("name", ["UncertaintyWeighting", "FAMO", "DTP", "DWA", "IMTL", "DBMTL"])
def test_a_walk_begins_anew(name: str) -> None:
    walk = toy.Walk(toy.METHODS[name](200), 0.01)
    first = walk(toy.STARTS[3], 200)
    assert first.shape == (21, 2) and first[0].tolist() == list(toy.STARTS[3])
    assert np.isfinite(first).all() and np.abs(np.diff(first, axis=0)).max() < 0.2  # Adam: about ten times 0.01
    walk(toy.STARTS[0], 200)
    assert walk(toy.STARTS[3], 200) == pytest.approx(first, abs=1e-9)


def test_a_walk_in_a_bowl_goes_down() -> None:
    walk = toy.Walk(mtl.balancing.Static(), 0.01)
    way = walk((2.0, -3.0), 200)
    means = toy.losses(way).numpy().mean(axis=1)
    assert (np.diff(means) < 0).all()


@pytest.mark.parametrize("name", ["IMTLG", "AlignedMTL", "ConFIG"])
def test_a_walk_reaches_the_pareto_set_and_stays(name: str) -> None:
    walk = toy.Walk(toy.METHODS[name](600), 0.01)
    far = toy.distances(walk((3.0, -8.0), 600)[1:])
    assert far[-20:].max() < 0.05 and far[20:].max() < 0.15


def test_table_and_picture(tmp_path: Path) -> None:
    near, far = np.array([[9.0, 9.0], [0.0, -8.36]]), np.array([[9.0, 9.0], [0.0, 1.6448]])
    ways = {"Static": [near, near, near, near, far]}
    console = Console(width=200, record=True)
    console.print(toy.table(ways, {"Static": 3.0}))
    row = next(line for line in console.export_text().splitlines() if "Static" in line)
    assert "4/5" in row and "10.00 at 0.0" in row
    file = tmp_path / "toy.png"
    toy.draw(ways, {"Static": "losses"}, file)
    assert file.read_bytes().startswith(b"\x89PNG") and [each.name for each in tmp_path.iterdir()] == ["toy.png"]


def test_command(tmp_path: Path) -> None:
    file = tmp_path / "toy.png"
    options = ["--out", str(file), "--steps", "100", "--methods", "GLS,MGDA"]
    result = CliRunner().invoke(toy.app, options)
    assert result.exit_code == 0, result.output
    assert file.exists() and "MGDA" in result.output


def test_command_names_the_methods() -> None:
    result = CliRunner().invoke(toy.app, ["--methods", "PCGard"])
    assert result.exit_code == 2
    assert "did you mean 'PCGrad'" in " ".join(result.output.replace("│", " ").split())
