import io
import json
import os
from types import SimpleNamespace

import pytest
from rich.console import Console

from mtl.commands.training_run import alone, checkpoints, remove, show_results, verdicts, write, write_json

BASELINES = {
    "mood": {
        "majority": {"metrics": {"accuracy": 0.5, "macro_f1": 0.25}, "seconds": 0.1},
        "word_ngrams": {"metrics": {"accuracy": 0.75, "macro_f1": 0.2}, "seconds": 1.0},
    }
}
SCORES = {"mood": {"accuracy": 0.7, "macro_f1": 0.3, "examples": 4}, "price": {"mae": 1.5, "examples": 2}}


def test_verdicts() -> None:
    assert verdicts(SCORES, BASELINES) == {"mood": {"accuracy": False, "macro_f1": True}}
    tie = {"mood": {"majority": {"metrics": {"accuracy": 0.7}, "seconds": 0.0}}}
    assert verdicts(SCORES, tie) == {"mood": {"accuracy": False}}


def test_table_names_the_best_baseline() -> None:
    out = io.StringIO()
    results = {"split": "test", "scores": SCORES, "baselines": BASELINES, "seconds": {"training": 2.0}}
    show_results(results, Console(file=out, width=200))
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in out.getvalue().splitlines() if line.startswith("│")]
    assert rows == [
        ["mood (4)", "accuracy", "0.7000", "word_ngrams 0.7500", "majority 0.5000", "not better"],
        ["", "macro_f1", "0.3000", "majority 0.2500", "word_ngrams 0.2000", "better"],
        ["price (2)", "mae", "1.5000", "", "", ""],
    ]
    assert "training 2.0" in out.getvalue() and "word_ngrams 1.0" in out.getvalue()


def test_files_are_written_at_once(tmp_path, monkeypatch) -> None:
    write(tmp_path / "a.txt", "old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "old"


def test_json_is_readable(tmp_path) -> None:
    write_json(tmp_path / "a.json", {"北": 0.1})
    text = (tmp_path / "a.json").read_text("utf-8")
    assert json.loads(text) == {"北": 0.1} and "北" in text
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_recipe_goes_on_from_its_own_checkpoints(tmp_path) -> None:
    def made(text, **training):
        return checkpoints(SimpleNamespace(training=training, as_yaml=lambda: text), tmp_path)

    (one,), (same,), (other,) = made("a"), made("a"), made("b", checkpoint={"every_steps": 5, "keep": 1})
    assert one.folder == same.folder != other.folder and one.folder.parent == tmp_path / "checkpoints" == other.folder.parent
    assert (one.every_steps, one.every_minutes, one.keep) == (None, 10, 3)
    assert (other.every_steps, other.every_minutes, other.keep) == (5, None, 1)
    assert made("a", checkpoint=False) == []
    (few,) = made("a", checkpoint={"keep": 2})
    assert (few.every_steps, few.every_minutes, few.keep) == (None, 10, 2)


@pytest.mark.skipif(os.name != "posix", reason="this system does not lock files")
def test_a_folder_takes_one_training_at_a_time(tmp_path) -> None:
    with alone(tmp_path / "run"):
        with pytest.raises(BlockingIOError, match="Another training is writing to '.*run'. Wait for its end, or give"):
            with alone(tmp_path / "run"):
                pass
    with alone(tmp_path / "run"):
        pass
    assert not list((tmp_path / "run").iterdir())


def test_a_folder_is_removed_whole(tmp_path) -> None:
    remove(tmp_path / "none")
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / ".a.removing").mkdir()
    remove(tmp_path / "a")
    assert not list(tmp_path.iterdir())
