"""Figures kept in a file."""

import json
from pathlib import Path

import pytest

from benchmarks.records import Records


def test_what_is_there_is_not_measured_again(tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    calls: list[int] = []

    def measure() -> dict:
        calls.append(1)
        return {"value": len(calls)}

    first = Records(file)
    assert first.get({"a": 1, "b": "x"}, measure) == {"value": 1}
    assert first.get({"b": "x", "a": 1}, measure) == {"value": 1}  # the same setting, in another order
    assert Records(file).get({"a": 1, "b": "x"}, measure) == {"value": 1}
    assert Records(file).get({"a": 2, "b": "x"}, measure) == {"value": 2}
    assert [json.loads(line)["figures"]["value"] for line in file.read_text("utf-8").splitlines()] == [1, 2]


def test_a_measurement_that_fails_is_not_kept(tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"

    def fail() -> dict:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        Records(file).get({"a": 1}, fail)
    assert not file.exists()


def test_without_a_file() -> None:
    assert Records(None).get({"a": 1}, lambda: {"value": 3}) == {"value": 3}


@pytest.mark.parametrize("line", ['{"setting": {"a"', '{"setting": {}}', "[]"])
def test_a_bad_line_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "r.jsonl"
    file.write_text('{"setting": {"a": 1}, "figures": {}}\n' + line + "\n", "utf-8")
    with pytest.raises(ValueError, match="line 2: expected a setting and its figures; delete the line"):
        Records(file)
