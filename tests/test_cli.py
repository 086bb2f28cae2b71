import json
import os
import runpy
import signal
import sys
from pathlib import Path

import keras
import pytest
from typer.testing import CliRunner

from mtl.cli import app
from mtl.commands.progress import EpochProgress
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
    made = {"model.keras", "recipe.yaml", "results.json", "logs", "checkpoints", ".mtl-run.json", ".mtl-run.lock"}
    assert made == {path.name for path in folder.iterdir()} and len(list((folder / "checkpoints").iterdir())) == 1
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
    result = mtl(*arguments)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "results.json").exists() and "Going on from the checkpoint" in result.output


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


def test_evaluate_leaves_out_no_option_in_silence(trained: tuple[Path, str], work: Path, tmp_path: Path) -> None:
    """`--set` changes how the files of `--data` are read."""
    folder, _ = trained
    (tmp_path / "other.csv").write_text(MOODS.replace(",", ";"))
    data = ["--data", f"mood={tmp_path / 'other.csv'}"]
    assert mtl("evaluate", folder, *data).exit_code == 2
    result = mtl("evaluate", folder, *data, "--set", "sources.moods.csv.delimiter=;")
    assert result.exit_code == 0 and "mood (8)" in result.output
    (tmp_path / "model.keras").write_bytes((folder / "model.keras").read_bytes())
    for arguments, said in (
        ([tmp_path, *data, "--set", "seed=1"], "--set changes a recipe, and there is none beside the model"),
        ([folder, *data, "--split", "test"], "--data names files, which have no splits; got --split test as well."),
        ([folder, "--text", "body"], "--text names the text's field in the files of --data; got --text body alone."),
    ):
        result = mtl("evaluate", *arguments)
        assert result.exit_code == 2 and said in result.stderr


def model_and_history(folder: Path) -> tuple[list[bytes], dict]:
    weights = keras.saving.load_model(folder / "model.keras").get_weights()
    return [weight.tobytes() for weight in weights], json.loads((folder / "results.json").read_text())["history"]


def test_more_epochs_end_as_one_run_of_as_many(work: Path, tmp_path: Path) -> None:
    """And a finished run is left alone, but where it is to be removed."""

    def train(folder: str, *arguments: object):
        return mtl("train", work / "r.yaml", "--output", tmp_path / folder, *arguments)

    assert train("one", "--set", "train.epochs=4").exit_code == 0
    for epochs in (1, 2, 4):
        result = train("two", "--set", f"train.epochs={epochs}")
        assert result.exit_code == 0, result.output
    assert "to 4 epochs from 2." in result.output and "would differ" not in result.output
    assert model_and_history(tmp_path / "two") == model_and_history(tmp_path / "one")
    before = (tmp_path / "two" / "model.keras").read_bytes()
    result = train("two", "--set", "train.epochs=4", "--json", tmp_path / "again.json")
    assert result.exit_code == 0 and "is finished" in result.output and "mood (8)" in result.output
    assert (tmp_path / "again.json").read_text() == (tmp_path / "two" / "results.json").read_text()
    result = train("two", "--set", "train.epochs=3")
    assert result.exit_code == 2 and "train.epochs was 4, is 3. Name another folder (--output), or" in result.stderr
    assert (tmp_path / "two" / "model.keras").read_bytes() == before
    result = train("two", "--set", "train.epochs=1", "--fresh")
    assert result.exit_code == 0 and "Removing the run in" in result.output
    assert len(model_and_history(tmp_path / "two")[1]["loss"]) == 1
    assert len(list((tmp_path / "two" / "logs" / "train").glob("events*"))) == 1


def test_a_folder_of_somebody_elses_is_left_as_it_was(work: Path, tmp_path: Path, monkeypatch) -> None:
    for path in work.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "recipe.yaml").write_text(f"# Mine.\n{RECIPE}output: .\n")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "app.log").write_text("mine")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    monkeypatch.chdir(tmp_path)
    for arguments in ((), ("--fresh",), ("--output", "logs"), ("--output", "mood.csv")):
        result = mtl("train", "recipe.yaml", *arguments)
        assert result.exit_code == 2 and "expects a folder" in result.stderr, result.output
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_ctrl_c_says_how_to_go_on(work: Path, tmp_path: Path, monkeypatch) -> None:
    arguments = ["train", work / "r.yaml", "--set", "train.epochs=2", "--output"]
    assert mtl(*arguments, tmp_path / "whole").exit_code == 0
    with monkeypatch.context() as interrupted:
        interrupted.setattr(EpochProgress, "on_train_batch_begin", lambda *_, **__: os.kill(os.getpid(), signal.SIGINT))
        result = mtl(*arguments, tmp_path / "out")
    assert result.exit_code == 130, result.output
    assert "Interrupted. Saved in" in result.stderr and "Start the same training again to go on from there." in result.stderr
    with monkeypatch.context() as interrupted:
        interrupted.setattr(MultiTaskModel, "report", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        result = mtl(*arguments, tmp_path / "out")
    assert result.exit_code == 130 and "Interrupted. Start the same command again to go on" in result.stderr
    assert mtl(*arguments, tmp_path / "out").exit_code == 0
    assert model_and_history(tmp_path / "out") == model_and_history(tmp_path / "whole")


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
    calls = []
    monkeypatch.setattr(MultiTaskModel, "export_text", lambda *given: calls.append(given))
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
        (
            ["evaluate", "{work}/out", "--data", "mood={work}/mood.xls"],
            "xls: expected utf-8 text, got an old Excel or Word file; save",
        ),
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
    (work / "mood.xls").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600))
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


def test_labels_and_errors_do_not_steer_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("text,mood\nso good,\x1b[31mup\nso bad,down\nok,\x9b2J\n")
    recipe = RECIPE.split("  places: {conll")[0].replace("mood.csv", "m.csv") + (
        "encoder: {Recurrent: {tokenizer: {learn: word}, embedding: 4, units: 4}}\n"
        "tasks: {mood: {source: moods, head: Classification}}\ndata: {batch_size: 4, cache_dir: null}\n"
    )
    (tmp_path / "r.yaml").write_text(recipe)
    result = mtl("inspect", tmp_path / "r.yaml")
    assert result.exit_code == 0 and r"\x1b[31mup" in result.output and r"\x9b2J" in result.output, result.output
    (tmp_path / "broken.keras").write_bytes(b"PK\x03\x04\x1b[31m")
    for arguments in (["inspect", tmp_path / "broken.keras"], ["predict", tmp_path / "broken.keras", tmp_path / "m.csv"]):
        broken = mtl(*arguments)
        assert broken.exit_code == 2 and "is damaged or none" in broken.output and "Traceback" not in broken.output
    unknown = mtl("inspect", tmp_path / "r.yaml", "--set", "seed=\x1b[31m")
    assert unknown.exit_code == 2
    assert "\x1b[31m" not in result.output + unknown.output and "\x9b" not in result.output


def test_errors_of_the_system_have_no_numbers(tmp_path: Path, monkeypatch) -> None:
    def load(*given, **named):
        raise OSError(28, "Could not write 'x': No space left on device. Make room.")

    monkeypatch.setattr("mtl.recipe.Recipe.load", load)
    result = mtl("inspect", tmp_path / "r.yaml")
    assert result.exit_code == 2 and result.output.strip() == "Could not write 'x': No space left on device. Make room."
