"""The benchmark of what balancers train: its figures, its table and its command; only a stand-in is trained."""

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

import mtl
from benchmarks import balancing_quality as quality


@pytest.fixture
def data(tmp_path: Path) -> Path:
    lines = [("play jazz", "O B-genre", "PlayMusic"), ("rain in rome", "O O B-city", "GetWeather")] * 3
    for split in ("train", "valid", "test"):
        folder = tmp_path / "snips" / split
        folder.mkdir(parents=True)
        for file, column in zip(("seq.in", "seq.out", "label"), zip(*lines, strict=True), strict=True):
            (folder / file).write_text("\n".join(column) + "\n", "utf-8")
    (tmp_path / "sick").mkdir()
    header = "pair_ID\tsentence_A\tsentence_B\trelatedness_score\tentailment_judgment\n"
    rows = "1\ta dog runs\ta dog\t4.5\tNEUTRAL\n2\ta cat\tno dog\t1.5\tNEUTRAL\n3\ta cat sits\ta cat\t4.0\tENTAILMENT\n"
    for name in ("SICK_train", "SICK_trial", "SICK_test_annotated"):
        (tmp_path / "sick" / f"{name}.txt").write_text(header + rows, "utf-8")
    return tmp_path


def run(intent: float, slots: float = 80.0, relatedness: float = 50.0) -> dict[str, Any]:
    return {"test": {"intent": intent, "slots": slots, "relatedness": relatedness}, "seconds": 10.0}


def test_sources_are_cut(data: Path) -> None:
    scale = quality.Scale(rows=2, tested=1, units=4, vocabulary=50, epochs=1)
    found = quality.sources(data, scale)
    sizes = {task: [len(list(source.examples(split))) for split in mtl.data.source.SPLITS] for task, source in found.items()}
    assert sizes == {"intent": [2, 6, 1], "slots": [2, 6, 1], "relatedness": [2, 3, 1]}
    assert found["intent"] is found["slots"]  # one source, so that the tasks share rows
    example = next(found["relatedness"].examples("train"))
    assert isinstance(example.labels["relatedness"], float) and example.pair


def test_single_task_means() -> None:
    runs = [{"test": {"intent": 90.0}}, {"test": {"slots": 70.0}}, {"test": {"intent": 94.0}}]
    assert quality.single_task(runs) == {"intent": 92.0, "slots": 70.0}


def test_gain_by_hand() -> None:
    alone = {"intent": 90.0, "slots": 80.0, "relatedness": 40.0}
    # (+10% - 5% + 25%) / 3
    assert quality.gain({"intent": 99.0, "slots": 76.0, "relatedness": 50.0}, alone) == pytest.approx(10.0)


def test_no_gain_over_nothing() -> None:
    with pytest.raises(ValueError, match="expects a figure above 0 there; got 0.0. Train longer."):
        quality.gain({"slots": 10.0}, {"slots": 0.0})


def test_table_has_the_best_first() -> None:
    alone = {"intent": 90.0, "slots": 80.0, "relatedness": 50.0}
    console = Console(width=200, record=True)
    console.print(quality.table({"Static": [run(90.0), run(90.0)], "MGDA": [run(99.0), run(81.0), run(99.0)]}, alone))
    lines = [line for line in console.export_text().splitlines() if line.startswith("│")]
    names = [line.split("│")[1].strip() for line in lines]
    assert names == ["single task", "MGDA", "Static"]
    assert "93.0 ± 10.4" in lines[1] and "1.1 ± 3.8" in lines[1]  # gains 3.33, -3.33, 3.33
    assert "0.0 ± 0.0" in lines[2]


def test_every_method_can_be_made() -> None:
    assert len(quality.METHODS) == 30
    for name in quality.METHODS:
        made = mtl.balancing.get({name: quality.ARGUMENTS[name](10) if name in quality.ARGUMENTS else {}})
        assert type(made).__name__ == name


def test_command_goes_on_where_it_stopped(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple] = []

    def train(by_task: dict, tokenizer: Any, method: str, seed: int, at: str, scale: quality.Scale) -> dict[str, Any]:
        calls.append((tuple(by_task), method, seed, scale.epochs))
        if method == "CAGrad":
            raise ValueError("not today")
        return {"test": dict.fromkeys(by_task, 50.0), "seconds": 1.0}

    monkeypatch.setattr(quality, "train", train)
    records, file = tmp_path / "q.jsonl", tmp_path / "q.json"
    options = ["--data-dir", str(data), "--quick", "--seeds", "2", "--epochs", "3", "--methods", "Static,CAGrad"]
    options += ["--records", str(records), "--json", str(file)]
    result = CliRunner().invoke(quality.app, options)
    assert result.exit_code == 1 and "not today" in result.output and "2 trainings failed" in result.output
    both = ("intent", "slots", "relatedness")
    singles = [((task,), "Static", seed, 3) for seed in range(2) for task in both]
    assert calls == [*singles, *((both, method, seed, 3) for method in ("Static", "CAGrad") for seed in range(2))]
    found = json.loads(file.read_text("utf-8"))
    assert found["results"]["Static"]["gain"] == 0.0 and set(found["results"]) == {"Static"}
    calls.clear()
    CliRunner().invoke(quality.app, options)
    assert [call[1] for call in calls] == ["CAGrad", "CAGrad"]


def test_training(data: Path) -> None:
    scale = quality.Scale(rows=None, tested=None, units=4, vocabulary=60, epochs=1, batch_size=4)
    by_task = quality.sources(data, scale)
    texts = [example.text for source in by_task.values() for example in source.examples()]
    tokenizer = mtl.data.Tokenizer.learn("wordpiece", texts, size=60)
    found = quality.train(by_task, tokenizer, "RLW", 0, "parameters", scale)
    assert set(found["test"]) == {"intent", "slots", "relatedness"} and found["seconds"] > 0
    assert all(-100.0 <= value <= 100.0 for value in found["test"].values())


def test_command_names_the_methods(data: Path) -> None:
    result = CliRunner().invoke(quality.app, ["--data-dir", str(data), "--methods", "static"])
    assert result.exit_code == 2 and "Static" in result.output
