"""The supervisor, with workers that only write down what they see."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent.parent / "scripts" / "supervise.py"

#: Writes its TF_CONFIG and its process to a file for each start, and then does what the last argument says.
WORKER = """
import json, os, signal, sys, time
task = json.loads(os.environ["TF_CONFIG"])
folder, what = sys.argv[1:]
index = task["task"]["index"]
number = len([name for name in os.listdir(folder) if name.startswith(f"{index}-")])
if what == "wait":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
if what == "stay":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
with open(f"{folder}/.{index}", "w") as file:
    json.dump({**task, "pid": os.getpid()}, file)
os.rename(f"{folder}/.{index}", f"{folder}/{index}-{number}")
if what in ("wait", "stay") or (what == "die once" and number == 0 and index == 0) or (what == "die" and index == 0):
    time.sleep(60)
if what == "fail" and index == 1:
    sys.exit(3)
if what == "misused":
    sys.exit(2)
if index == 0 and what == "fail":
    time.sleep(60)
"""


def start(folder: Path, what: str, *options: str) -> subprocess.Popen[bytes]:
    worker = [sys.executable, "-c", WORKER, str(folder), what]
    with open(folder / "told", "wb") as told:
        return subprocess.Popen([sys.executable, str(SCRIPT), *options, "--", *worker], stderr=told)


def seen(folder: Path, *names: str) -> list[dict]:
    until = time.monotonic() + 60
    while not all((folder / name).exists() for name in names):
        assert time.monotonic() < until, sorted(path.name for path in folder.iterdir())
        time.sleep(0.02)
    return [json.loads((folder / name).read_text()) for name in names]


def test_workers_know_each_other(tmp_path):
    process = start(tmp_path, "end", "--workers", "3")
    assert process.wait(60) == 0
    tasks = seen(tmp_path, "0-0", "1-0", "2-0")
    assert [each["task"] for each in tasks] == [{"type": "worker", "index": i} for i in range(3)]
    addresses = tasks[0]["cluster"]["worker"]
    assert len(set(addresses)) == 3 and all(each["cluster"] == {"worker": addresses} for each in tasks)


def test_all_start_again_when_one_dies(tmp_path):
    process = start(tmp_path, "die once")
    first = seen(tmp_path, "0-0", "1-0")
    subprocess.run(["kill", "-9", str(first[0]["pid"])], check=True)
    assert process.wait(60) == 0
    seen(tmp_path, "0-1", "1-1")
    told = (tmp_path / "told").read_text()
    assert "worker 0 ended with status -9" in told and "starting all again, 1 of at most 3 times" in told


def test_not_for_ever(tmp_path):
    process = start(tmp_path, "fail", "--restarts", "1")
    assert process.wait(60) == 3
    assert "giving up" in (tmp_path / "told").read_text()
    assert (tmp_path / "1-1").exists() and not (tmp_path / "1-2").exists()


def test_what_cannot_be_done_is_not_tried_again(tmp_path):
    assert start(tmp_path, "misused").wait(60) == 2
    assert not (tmp_path / "0-1").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_are_passed_on(tmp_path, number):
    process = start(tmp_path, "wait" if number == signal.SIGTERM else "die")
    tasks = seen(tmp_path, "0-0", "1-0")
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    for task in tasks:
        assert subprocess.run(["kill", "-0", str(task["pid"])], capture_output=True).returncode != 0
    assert not (tmp_path / "0-1").exists()


def test_a_second_ctrl_c_ends_at_once(tmp_path):
    process = start(tmp_path, "stay")
    tasks = seen(tmp_path, "0-0", "1-0")
    assert all(os.getpgid(task["pid"]) == task["pid"] for task in tasks)  # A terminal's Ctrl-C does not reach them.
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(2)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 128 + signal.SIGINT
    for task in tasks:
        assert subprocess.run(["kill", "-0", str(task["pid"])], capture_output=True).returncode != 0


def test_what_it_expects():
    result = subprocess.run([sys.executable, str(SCRIPT), "--workers", "0", "--", "true"], capture_output=True, text=True)
    assert result.returncode == 2 and "expected at least one worker" in result.stderr
    result = subprocess.run([sys.executable, str(SCRIPT), "--", "no-such-command"], capture_output=True, text=True)
    assert result.returncode == 2 and "no such command: no-such-command" in result.stderr
