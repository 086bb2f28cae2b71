"""One result from the same batches on any layout of replicas: each layout trains all cases in a process of its own."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.layouts import CASES

ROOT = Path(__file__).parent.parent.parent
SCRIPT = Path(__file__).with_name("layouts.py")

#: Layout -> its processes.
LAYOUTS = {"one": 1, "mirrored2": 1, "mirrored4": 1, "workers2": 2}
SEVERAL = [f"{layout}_{i}" for layout, processes in LAYOUTS.items() for i in range(processes) if layout != "one"]

#: What is tried first; the long test has all others.
QUICK = (
    "dropout",
    "dropout_of_attention",
    "random_masks",
    "batches_smaller_than_replicas",
    "accumulation",
    "average_that_overwrites",
    "loss_scale_with_inf",
    "three_steps_in_one",
    "callbacks",
    "balancer_PCGrad",
    "balancer_MoCo",
    "gradients_at_the_representation",
)

Results = Mapping[str, Mapping[str, np.ndarray]]


def start(layout: str, folder: Path, cases: tuple[str, ...]) -> dict[str, subprocess.Popen[bytes]]:
    """The processes of a layout, by the names of their results."""
    clusters: list[dict[str, str]] = [{}]
    if LAYOUTS[layout] > 1:
        sockets = [socket.create_server(("localhost", 0)) for _ in range(LAYOUTS[layout])]
        workers = [f"localhost:{each.getsockname()[1]}" for each in sockets]
        for each in sockets:
            each.close()
        tasks = [{"cluster": {"worker": workers}, "task": {"type": "worker", "index": i}} for i in range(len(workers))]
        clusters = [{"TF_CONFIG": json.dumps(task)} for task in tasks]
    processes = {}
    for i, cluster in enumerate(clusters):
        name = f"{layout}_{i}"
        with open(folder / f"{name}.log", "wb") as log:
            processes[name] = subprocess.Popen(
                [sys.executable, str(SCRIPT), layout, str(folder / f"{name}.npz"), *cases],
                env={**os.environ, "PYTHONPATH": str(ROOT), **cluster},
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
    return processes


def run(folder: Path, cases: tuple[str, ...], seconds: float = 1500) -> Results:
    """Runs every layout; one process's end ends all, so that none waits for a peer that is gone."""
    processes: dict[str, subprocess.Popen[bytes]] = {}
    for layout in LAYOUTS:
        processes |= start(layout, folder, cases)
    until = time.monotonic() + seconds
    try:
        while any(process.poll() is None for process in processes.values()):
            failed = [name for name, process in processes.items() if process.poll()]
            if failed or time.monotonic() > until:
                name = failed[0] if failed else next(name for name, process in processes.items() if process.poll() is None)
                pytest.fail(f"{name} {'failed' if failed else 'did not end'}:\n{(folder / f'{name}.log').read_text()[-6000:]}")
            time.sleep(0.2)
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
    results = {}
    for name in processes:
        with np.load(folder / f"{name}.npz") as arrays:
            results[name] = dict(arrays)
    return results


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Results]:
    """What the layouts made of the quick cases, or of all others; each is run once."""
    done: dict[bool, Results] = {}

    def of(case: str) -> Results:
        quick = case in (*QUICK, "drawn")
        if quick not in done:
            cases = (*QUICK, "drawn") if quick else tuple(name for name in CASES if name not in QUICK)
            done[quick] = run(tmp_path_factory.mktemp("layouts"), cases)
        return done[quick]

    return of


def check(results: Results, case: str) -> None:
    """Weights, predictions, counters and history are those of one device, and the replicas' copies are one another's."""
    one = {key: value for key, value in results["one_0"].items() if key.startswith(f"{case}/")}
    weights = [value for key, value in one.items() if "/weight" in key]
    assert weights and all(np.isfinite(weight).all() for weight in weights)
    for name in SEVERAL:
        several = results[name]
        assert several[f"{case}/drift"] == 0, name
        for key, value in one.items():
            relative, found = 1e-5 if "/log_" in key else 0.0, several[key]
            if "/log_" in key:  # A figure that overflowed is inf or NaN, by the order of its sums.
                value, found = (np.where(np.isfinite(figure), figure, np.nan) for figure in (value, found))
            np.testing.assert_allclose(found, value, rtol=relative, atol=1e-6, err_msg=f"{name}: {key}")


@pytest.mark.slow
@pytest.mark.parametrize("case", QUICK)
def test_one_result(case: str, results: Callable[[str], Results]) -> None:
    check(results(case), case)


@pytest.mark.long
@pytest.mark.parametrize("case", [case for case in CASES if case not in QUICK])
def test_one_result_in_the_long_run(case: str, results: Callable[[str], Results]) -> None:
    check(results(case), case)


@pytest.mark.slow
def test_the_step_with_an_infinite_loss_was_left_out(results: Callable[[str], Results]) -> None:
    """20 batches of which 5, one an epoch, hold the row: each halves the scale; three finite ones in a row double it."""
    one = results("loss_scale_with_inf")["one_0"]
    assert int(one["loss_scale_with_inf/iterations"]) == 15
    assert float(one["loss_scale_with_inf/scale"]) == 2.0**15 * 2.0**-1


@pytest.mark.slow
def test_accumulated_batches_are_counted_as_updates(results: Callable[[str], Results]) -> None:
    assert int(results("accumulation")["one_0"]["accumulation/iterations"]) == 20 // 3


@pytest.mark.long
def test_the_end_of_the_data_is_no_step(results: Callable[[str], Results]) -> None:
    assert int(results("unknown_number_of_batches")["one_0"]["unknown_number_of_batches/iterations"]) == 20


@pytest.mark.slow
@pytest.mark.parametrize("name", SEVERAL)
def test_replicas_drop_different_tokens(name: str, results: Callable[[str], Results]) -> None:
    drawn = results("drawn")[name]["drawn"]
    assert drawn.shape == (4 if "4" in name else 2, 64)
    for i, row in enumerate(drawn):
        assert 15 < (row != 5).sum() < 49  # Half of 64 at random.
        assert all((row != other).sum() > 15 for other in drawn[:i])


@pytest.mark.slow
def test_the_chief_alone_writes(results: Callable[[str], Results], tmp_path_factory: pytest.TempPathFactory) -> None:
    results("callbacks")
    folder = next(tmp_path_factory.getbasetemp().glob("layouts0"))
    written: dict[str, list[Any]] = {
        name: [path for path in (folder / f"{name}.files").rglob("*") if path.is_file()] for name in ("one_0", *SEVERAL)
    }
    assert written.pop("workers2_1") == []
    for files in written.values():
        assert {path.name.split(".")[0] for path in files} == {"best", "events"}
