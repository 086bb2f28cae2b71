import io
import json

import pytest
from rich.console import Console

import mtl
from mtl.baselines import sample
from mtl.training_run import score, show_results, verdicts, write, write_json

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
        ["mood (4)", "accuracy", "0.7000", "word_ngrams 0.7500", "majority 0.5000", "not yet better"],
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
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == {"北": 0.1} and "北" in (tmp_path / "a.json").read_text(
        "utf-8"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_score_takes_the_examples_of_the_baselines() -> None:
    texts = [{"text": f"{word} {n}", "mood": word} for n in range(20) for word in ("up", "down")]
    task = mtl.Task("mood", mtl.heads.Classification(), mtl.data.records({"train": texts, "test": texts}, label="mood"))
    encoder = mtl.encoders.Recurrent(mtl.data.Tokenizer.learn("word", ["up down"]), embedding=2, units=2)
    model = mtl.MultiTaskModel(encoder, [task])
    model.heads["mood"].set_weights([weight * 0 for weight in model.heads["mood"].get_weights()])  # Always the first label.
    labelled = sample(list(task.labelled("test")), 7, seed=5)
    share = sum(value == "down" for _, value in labelled) / 7
    scores = score(model, [task], "test", limit=7, seed=5)
    assert scores["mood"]["examples"] == 7 and scores["mood"]["accuracy"] == pytest.approx(share)
    assert score(model, [task], "validation") == {}
