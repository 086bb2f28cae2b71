import json
import runpy
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mtl.cli import app
from mtl.model import MultiTaskModel

# Keras reads variables as NumPy arrays in a way that NumPy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

ROOT = Path(__file__).parent.parent
MOODS = "text,mood\n" + "".join(f"so {word} {n},{mood}\n" for n in range(4) for word, mood in (("good", "up"), ("bad", "down")))
PLACES = "".join(f"{word} O\n{place} B-LOC\n\n" for word in ("in", "good") for place in ("Rome", "Paris", "Oslo"))
RECIPE = """\
sources:
  moods: {csv: {path: {train: mood.csv, validation: mood.csv, test: mood.csv}, label: mood}}
  places: {conll: {path: {train: places.conll, test: places.conll}}}
encoder:
  Recurrent: {tokenizer: {learn: word}, embedding: 8, units: 8}
tasks:
  mood: {source: moods, head: Classification}
  places: {source: places, head: Tagging}
data: {batch_size: 4, cache_dir: null}
train: {epochs: 1, optimizer: {Adam: {learning_rate: 0.05}}, monitor: val_mood_accuracy}
baselines: {mood: [majority, word_ngrams], places: majority}
"""


def mtl(*arguments: object, input: str | bytes | None = None):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=input)


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    (folder / "mood.csv").write_text(MOODS)
    (folder / "places.conll").write_text(PLACES)
    (folder / "r.yaml").write_text(RECIPE)
    return folder


@pytest.fixture(scope="module")
def trained(work: Path) -> tuple[Path, str]:
    """The folder of a trained model, and what the training showed."""
    settings = ["--set", "train.epochs=12", "--output", work / "out", "--json", work / "copy.json"]
    result = mtl("train", work / "r.yaml", *settings, "--debug")
    assert result.exit_code == 0, result.output
    return work / "out", result.output


def test_train_writes_everything(trained: tuple[Path, str], work: Path) -> None:
    folder, shown = trained
    assert {"model.keras", "recipe.yaml", "results.json", "logs"} == {path.name for path in folder.iterdir()}
    assert any((folder / "logs").rglob("events*"))
    results = json.loads((folder / "results.json").read_text())
    assert results == json.loads((work / "copy.json").read_text())
    assert results["labels"]["mood"] == ["down", "up"]
    assert results["scores"]["mood"]["examples"] == 8 and results["scores"]["places"]["examples"] == 6
    assert len(results["history"]["val_mood_loss"]) == 12
    assert results["mixture"]["rows"] == {"mood": 8, "places": 6}
    # Eight rows, half of each mood: the majority is right for four, and 2/3 and 0 are its two F1.
    majority = results["baselines"]["mood"]["majority"]["metrics"]
    assert majority["accuracy"] == 0.5 and majority["macro_f1"] == pytest.approx(1 / 3)
    for task, figures in results["verdicts"].items():
        for figure, won in figures.items():
            others = [each["metrics"][figure] for each in results["baselines"][task].values()]
            assert won == (results["scores"][task][figure] > max(others))
    for part in ("Epoch 12", "majority", "not", "better", "tensorboard --logdir", "mtl predict", "mtl export", "padding"):
        assert part in shown, part


def test_train_goes_on_where_only_the_report_is_left(work: Path, tmp_path: Path, monkeypatch) -> None:
    arguments = ["train", work / "r.yaml", "--output", tmp_path / "out", "--set", "train.epochs=1"]
    with monkeypatch.context() as broken:
        broken.setattr(MultiTaskModel, "report", lambda *_, **__: 1 // 0)
        assert mtl(*arguments).exit_code != 0
    other = tmp_path / "out" / "checkpoints" / "other"
    other.mkdir()
    result = mtl(*arguments)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "results.json").exists() and list(other.parent.iterdir()) == [other]


def test_evaluate_uses_the_recipe_beside_the_model(trained: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = trained
    result = mtl("evaluate", folder, "--json", tmp_path / "scores.json")
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "scores.json").read_text()) == json.loads((folder / "results.json").read_text())["scores"]
    assert "mood (8)" in result.output and "places (6)" in result.output


def test_evaluate_files(trained: tuple[Path, str], work: Path, tmp_path: Path) -> None:
    folder, _ = trained
    (tmp_path / "two.jsonl").write_text('{"body": "so good", "mood": "up"}\n{"body": "so bad", "mood": "down"}\n')
    out = tmp_path / "scores.json"
    arguments = ["--data", f"mood={tmp_path / 'two.jsonl'}", "--text", "body", "--json", out]
    assert mtl("evaluate", folder / "model.keras", *arguments).exit_code == 0
    assert json.loads(out.read_text())["mood"]["examples"] == 2
    assert mtl("evaluate", folder, "--data", f"places={work / 'places.conll'}", "--json", out).exit_code == 0
    assert list(json.loads(out.read_text())) == ["places"]


def test_evaluate_reads_files_as_the_training_data_was(work: Path, tmp_path: Path) -> None:
    """Tags in the column before the last, rows with other signs between them."""
    (tmp_path / "columns.conll").write_text(PLACES.replace("\n", " x\n").replace("\n x", "\n"))
    (tmp_path / "moods.csv").write_text(MOODS.replace(",", ";"))
    recipe = RECIPE.replace(
        "{conll: {path: {train: places.conll, test: places.conll}}}", "{conll: {path: {train: columns.conll}, columns: {ner: 1}}}"
    )
    recipe = recipe.replace(
        "{csv: {path: {train: mood.csv, validation: mood.csv, test: mood.csv}, label: mood}}",
        "{csv: {path: {train: moods.csv}, delimiter: ;, label: mood}}",
    )
    (tmp_path / "r.yaml").write_text(recipe.partition("\ntrain:")[0] + "\ntrain: {epochs: 1}\n")
    result = mtl("train", tmp_path / "r.yaml", "--output", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    out = tmp_path / "scores.json"
    data = ["--data", f"places={tmp_path / 'columns.conll'}", "--data", f"mood={tmp_path / 'moods.csv'}", "--json", out]
    result = mtl("evaluate", tmp_path / "out", *data)
    assert result.exit_code == 0, result.output
    scores = json.loads(out.read_text())
    assert scores["places"]["accuracy"] > 0 and scores["mood"]["examples"] == 8  # No tag is "x".


def test_training_anew_draws_new_curves(work: Path, tmp_path: Path) -> None:
    for epochs in (1, 2):
        assert mtl("train", work / "r.yaml", "--set", f"train.epochs={epochs}", "--output", tmp_path / "out").exit_code == 0
        assert len(list((tmp_path / "out" / "logs" / "train").glob("events*"))) == 1


def test_evaluate_some_tasks_and_examples(trained: tuple[Path, str], tmp_path: Path) -> None:
    out = tmp_path / "scores.json"
    result = mtl("evaluate", trained[0], "--tasks", "mood", "--limit", 3, "--split", "train", "--json", out)
    assert result.exit_code == 0 and json.loads(out.read_text())["mood"]["examples"] == 3


def test_predict_keeps_order_and_empty_lines(trained: tuple[Path, str], tmp_path: Path) -> None:
    texts = ["so good 1", "", "so bad 2 and quite a bit longer", "  ", "北京 <b>", "in Rome"]
    (tmp_path / "texts.txt").write_bytes("\ufeff".encode() + "\r\n".join(texts).encode())
    result = mtl("predict", trained[0], tmp_path / "texts.txt", "--batch-size", 2)
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["text"] for row in rows] == ["so good 1", "", "so bad 2 and quite a bit longer", "", "北京 <b>", "in Rome"]
    assert [row["predictions"] is None for row in rows] == [False, True, False, True, False, False]
    assert set(rows[0]["predictions"]) == {"mood", "places"} and "北京" in result.stdout
    assert rows[0]["predictions"]["mood"]["label"] == "up" and rows[2]["predictions"]["mood"]["label"] == "down"


def test_predict_standard_input_one_task(trained: tuple[Path, str]) -> None:
    result = mtl("predict", trained[0], "--tasks", "mood", input="so good\nso bad\n")
    assert [list(json.loads(line)["predictions"]) for line in result.stdout.splitlines()] == [["mood"], ["mood"]]


def test_predict_pairs(trained: tuple[Path, str]) -> None:
    result = mtl("predict", trained[0], "-", "--pairs", "--tasks", "mood", input="so\tgood\n\n")
    assert result.exit_code == 0, result.output
    first, second = (json.loads(line) for line in result.stdout.splitlines())
    assert (first["text"], first["pair"]) == ("so", "good") and second["predictions"] is None


@pytest.mark.parametrize(("given", "arguments"), [("file", []), ("input", ["--batch-size", 8])])
def test_predict_answers_the_lines_before_a_malformed_one(trained, tmp_path: Path, given: str, arguments: list) -> None:
    lines = b"so good\n\nso bad\nbr\xe9ken\nso late\n"
    (tmp_path / "texts.txt").write_bytes(lines)
    file = tmp_path / "texts.txt" if given == "file" else "-"
    result = mtl("predict", trained[0], file, "--tasks", "mood", *arguments, input=lines if given == "input" else None)
    assert result.exit_code == 2 and "line 4: expected UTF-8 text; got the byte 0xe9" in result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["text"] for row in rows] == ["so good", "", "so bad"] and rows[2]["predictions"]["mood"]["label"] == "down"


def test_inspect_recipe(work: Path) -> None:
    result = mtl("inspect", work / "r.yaml", "--rows", 2)
    assert result.exit_code == 0, result.output
    parts = (
        "Task mood",
        "labelled examples",
        "B-LOC",
        "repeated texts",
        "unknown tokens",
        "█",
        "The first batch",
        "Row 2",
        "share",
    )
    for part in (*parts, "8 texts stand in both 'train' and 'test'", "not labelled, weight 0"):
        assert part in result.output, part


def test_inspect_model(trained: tuple[Path, str]) -> None:
    result = mtl("inspect", trained[0])
    for part in ("Recurrent", "Classification", "down, up", "Hard()", "Static("):
        assert part in result.output, part


def test_export_calls_the_library(trained: tuple[Path, str], tmp_path: Path, monkeypatch) -> None:
    import types

    calls = []
    monkeypatch.setitem(sys.modules, "mtl.export", types.SimpleNamespace(export=lambda *given: calls.append(given)))
    assert mtl("export", trained[0], tmp_path / "served").exit_code == 0
    assert calls[0][0].task_names == ("mood", "places") and calls[0][1:] == (tmp_path / "served", ["mood", "places"])
    assert mtl("export", trained[0], tmp_path / "served", "--tasks", "places").exit_code == 0
    assert calls[1][2] == ["places"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "none.yaml"], "No recipe 'none.yaml'. Give the path of a YAML file."),
        (["train", "{work}/r.yaml", "--set", "trian.epochs=1"], "Unknown path 'trian'; did you mean 'train'?"),
        (["train", "{work}/r.yaml", "--set", "baselines.places=word_ngrams"], "expect a Classification head"),
        (["inspect", "{work}/none"], "No model '"),
        (["inspect", "{work}/mood.csv"], "Expected a model as a .keras file"),
        (["evaluate", "{work}/out", "--recipe", "none.yaml"], "No recipe 'none.yaml', which would say where the data is."),
        (["evaluate", "{work}/out", "-r", "{work}/other.yaml"], "Unknown task of the model 'plaaces'; did you mean 'places'?"),
        (["evaluate", "{work}/out", "--tasks", "moood"], "Unknown task 'moood'; did you mean 'mood'?"),
        (["evaluate", "{work}/out", "--split", "tset"], "Unknown split 'tset'; did you mean 'test'?"),
        (["evaluate", "{work}/out", "--data", "x.csv"], "Say which with --data TASK=x.csv"),
        (["evaluate", "{work}/out", "--data", "mod=x.csv"], "Unknown task 'mod'; did you mean 'mood'?"),
        (["evaluate", "{work}/out", "--data", "mood=x.xls"], "Unknown kind of file '.xls'"),
        (["export", "{work}/out", "{work}/out"], "Expected a new folder"),
        (["predict", "{work}/out", "--tasks", "moood"], "Unknown task 'moood'; did you mean 'mood'?"),
        (["predict", "{work}/out", "{work}/moood.csv"], "moood.csv' does not exist; did you mean '{work}/mood.csv'?"),
        (["predict", "{work}/out", "{work}"], "Expected a file; got the folder"),
        (["predict", "{work}/out", "{work}/broken.txt"], "broken.txt, line 2: expected UTF-8 text; got the byte 0xe9."),
        (["predict", "{work}/out", "{work}/mood.csv", "--pairs"], "line 1: expected two texts with a tab between them"),
    ],
)
def test_errors_are_one_line(trained: tuple[Path, str], work: Path, arguments: list[str], message: str) -> None:
    (work / "other.yaml").write_text(RECIPE.replace("places: {source", "plaaces: {source").replace(", places: majority", ""))
    (work / "broken.txt").write_bytes(b"fine\nbr\xe9ken\n")
    result = mtl(*(argument.format(work=work) for argument in arguments))
    assert result.exit_code == 2
    assert message.replace("{work}", str(work)) in result.stderr and result.stderr.count("\n") == 1


def test_debug_shows_the_traceback(work: Path) -> None:
    result = mtl("train", "none.yaml", "--debug")
    assert isinstance(result.exception, FileNotFoundError) and not result.stderr


@pytest.mark.parametrize("name", ["train", "evaluate", "predict", "export", "inspect_data"])
def test_scripts(name: str, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / "scripts" / f"{name}.py"), run_name="__main__")
    assert end.value.code == 0 and f"Usage: mtl {name.removesuffix('_data')}" in capsys.readouterr().out


def test_scripts_hide_no_standard_module() -> None:
    """A script's folder comes first on the path, so `import inspect` would find a script of that name."""
    assert not {path.stem for path in (ROOT / "scripts").glob("*.py")} & sys.stdlib_module_names
