"""The benchmark of a step's cost: its batches, its arithmetic, its tables and its commands; nothing is trained."""

import json
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

import mtl
from benchmarks import balancing
from benchmarks.balancing_step import PEERS, SCALARIZERS, SIZES, Setting, batch, summary
from benchmarks.records import Records


def setting(method: str, side: str = "mtl", tasks: int = 3, rows: str = "own", at: str = "parameters") -> Setting:
    return Setting(side=side, method=method, tasks=tasks, rows=rows, at=at)


def figures(milliseconds: float, mib: float = 100.0) -> dict[str, float]:
    return {"milliseconds": milliseconds, "least_milliseconds": milliseconds, "peak_mib": mib, "step_mib": 1.0}


def printed(table: Any) -> list[str]:
    console = Console(width=250, record=True)
    console.print(table)
    return console.export_text().splitlines()


def row(lines: list[str], name: str) -> list[str]:
    return next([cell.strip() for cell in line.strip("│").split("│")] for line in lines if name in line)


def test_batch_of_own_rows() -> None:
    ids, classes, weights = batch(setting("Static"))
    assert ids.shape == (32, 64) and classes.shape == (32,) and weights.shape == (3, 32)
    assert weights.sum(axis=0).tolist() == [1.0] * 32 and weights.sum(axis=1).tolist() == [11.0, 11.0, 10.0]
    assert ids.min() > 0 and ids.max() < SIZES["minilm"].vocabulary


def test_batch_of_shared_rows() -> None:
    assert batch(setting("Static", tasks=5, rows="shared"))[2].tolist() == np.ones((5, 32)).tolist()


def test_more_tasks_than_rows() -> None:
    with pytest.raises(ValueError, match="64 tasks with rows of their own expect as many rows; size 'minilm' has 32"):
        batch(setting("Static", tasks=64))


def test_summary_by_hand() -> None:
    found = summary([0.1, 0.3, 0.2], before=300.0, peak=350.0)
    assert found == {"milliseconds": 200.0, "least_milliseconds": 100.0, "peak_mib": 350.0, "step_mib": 50.0}


def test_peers_are_methods() -> None:
    assert set(PEERS) <= set(mtl.balancing.__all__)
    of_losses = {name for name in PEERS if name != "Static" and getattr(mtl.balancing, name).needs == "losses"}
    assert of_losses - {"CRMOGM"} == set(SCALARIZERS)  # CRMOGM takes the face of the method that it wraps.


def test_cost_table() -> None:
    results = {
        setting("Static", tasks=2): figures(200.0),
        setting("Static", "torchjd", tasks=2): figures(100.0),
        setting("PCGrad", tasks=2): figures(250.0, 400.0),
        setting("PCGrad", "torchjd", tasks=2): figures(300.0, 500.0),
        setting("Static", tasks=4): figures(200.0),
        setting("PCGrad", tasks=4): figures(260.0),
    }
    lines = printed(balancing.cost_table(results, "cost"))
    assert row(lines, "2 │ PCGrad") == ["2", "PCGrad", "1.25 x (250 ms, 400 MiB)", "3.00 x (300 ms, 500 MiB)"]
    assert row(lines, "4 │ PCGrad") == ["4", "PCGrad", "1.30 x (260 ms, 100 MiB)", "-"]
    assert row(lines, "2 │ Static")[2] == "200 ms, 100 MiB"


def test_bar_table() -> None:
    results = {
        setting("Static", rows="own"): figures(100.0),
        setting("Static", rows="shared"): figures(200.0),
        setting("PCGrad", rows="own"): figures(126.0),
        setting("PCGrad", rows="shared"): figures(300.0),
        setting("PCGrad", rows="shared", at="representation"): figures(210.0),
        setting("PCGrad", "torchjd", rows="shared"): figures(600.0),
        setting("Static", "torchjd", rows="shared"): figures(200.0),
    }
    lines = printed(balancing.bar_table(results))
    assert row(lines, "parameters, rows of one")[2:] == ["1.25", "1.26", "beyond", "-"]
    assert row(lines, "parameters, shared")[2:] == ["1.9", "1.50", "within", "3.00"]
    assert row(lines, "representation, shared")[2:] == ["1.1", "1.05", "within", "-"]
    assert row(lines, "losses only")[2:] == ["1.02", "-", "", "-"]


def test_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def call(command: list[str], **options: Any) -> subprocess.CompletedProcess:
        seen.append(command)
        return subprocess.CompletedProcess(command, 0, stdout="some noise\n" + json.dumps(figures(5.0)) + "\n", stderr="")

    monkeypatch.setattr(subprocess, "run", call)
    assert balancing.run(setting("PCGrad"), 10.0) == figures(5.0)
    assert seen[0][1:4] == ["-m", "benchmarks.balancing", "one"]
    assert Setting(**json.loads(seen[0][4])) == setting("PCGrad")


def test_failures_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(command: list[str], **options: Any) -> subprocess.CompletedProcess:
        return subprocess.CompletedProcess(command, 1, stdout="", stderr="Traceback\nValueError: no such thing\n")

    def hangs(command: list[str], **options: Any) -> subprocess.CompletedProcess:
        raise subprocess.TimeoutExpired(command, 10.0)

    monkeypatch.setattr(subprocess, "run", fails)
    with pytest.raises(RuntimeError, match="^ValueError: no such thing$"):
        balancing.run(setting("PCGrad"), 10.0)
    monkeypatch.setattr(subprocess, "run", hangs)
    with pytest.raises(RuntimeError, match="took more than 10 s"):
        balancing.run(setting("PCGrad"), 10.0)


def test_commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Setting] = []

    def run(each: Setting, timeout: float) -> dict[str, float]:
        asked.append(each)
        if each.method == "MGDA" and each.side == "torchjd":
            raise RuntimeError("it does not work")
        return figures(100.0 if each.method == "Static" else 150.0)

    monkeypatch.setattr(balancing, "run", run)
    records, file = tmp_path / "cost.jsonl", tmp_path / "cost.json"
    options = ["cost", "--methods", "MGDA,GradNorm", "--tasks", "2", "--records", str(records), "--json", str(file)]
    result = CliRunner().invoke(balancing.app, options)
    assert result.exit_code == 1
    assert "it does not work" in result.output and "1 of 5 could not be measured" in result.output
    assert [(each.side, each.method) for each in asked] == [
        ("mtl", "Static"),
        ("torchjd", "Static"),
        ("mtl", "MGDA"),
        ("torchjd", "MGDA"),
        ("mtl", "GradNorm"),  # TorchJD has none.
    ]
    assert len(json.loads(file.read_text("utf-8"))["results"]) == 4
    asked.clear()
    assert CliRunner().invoke(balancing.app, options).exit_code == 1
    assert [each.method for each in asked] == ["MGDA"]  # Only what failed is tried again.
    assert CliRunner().invoke(balancing.app, ["bars", "--no-peer"]).exit_code == 0


def test_unknown_names() -> None:
    result = CliRunner().invoke(balancing.app, ["cost", "--methods", "PCGard"])
    assert result.exit_code == 2
    assert "did you mean 'PCGrad'" in " ".join(result.output.replace("│", " ").split())


def test_settings_are_keys_of_records(tmp_path: Path) -> None:
    kept = Records(tmp_path / "r.jsonl")
    kept.get(asdict(setting("MGDA")), lambda: figures(1.0))
    assert Records(tmp_path / "r.jsonl").get(asdict(setting("MGDA")), lambda: figures(2.0)) == figures(1.0)
