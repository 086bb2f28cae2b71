import io
import json
from types import SimpleNamespace

import pytest
from rich.console import Console

from mtl.commands.training_run import check_json, checkpoints, show_results, spans_training, verdicts, write_json

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


def test_json_is_readable(tmp_path) -> None:
    figures = {"北": {"examples": 1, "accuracy": 0.1}}
    write_json(tmp_path / "a.json", figures)
    text = (tmp_path / "a.json").read_text("utf-8")
    assert json.loads(text) == figures and "北" in text
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    write_json(tmp_path / "a.json", {})
    results = {"recipe": "r", "history": {}, "scores": figures}
    write_json(tmp_path / "all.json", results, of_training=True)
    write_json(tmp_path / "all.json", results, of_training=True)


@pytest.mark.parametrize(
    "content",
    [
        "encoder: Recurrent\n",
        '{"text": "so good", "mood": "up"}\n',
        "[1]",
        "[" * 100_000,
        "",
    ],
)
def test_json_replaces_nothing_but_figures(tmp_path, content) -> None:
    (tmp_path / "mine").write_text(content)
    for act in (check_json, lambda path: write_json(path, {})):
        with pytest.raises(
            FileExistsError, match="--json replaces nothing but figures of the same command; '.*mine' holds something else"
        ):
            act(tmp_path / "mine")
    assert (tmp_path / "mine").read_text() == content
    with pytest.raises(FileNotFoundError, match="there is no '.*none'. Make it"):
        check_json(tmp_path / "none" / "a.json")


@pytest.mark.parametrize("of_training", [True, False])
def test_json_never_replaces_what_a_run_or_the_other_command_wrote(tmp_path, of_training) -> None:
    results = json.dumps({"recipe": "r", "history": {}, "scores": {}})
    (tmp_path / ".mtl-run.json").write_text("{}")
    (tmp_path / "results.json").write_text(results)
    with pytest.raises(FileExistsError, match="'.*results.json' is a run's"):
        check_json(tmp_path / "results.json", of_training)
    (tmp_path / "scores.json").write_text(json.dumps({"mood": {"examples": 1}}) if of_training else results)
    with pytest.raises(FileExistsError, match="figures of the same command; '.*scores.json' holds something else"):
        check_json(tmp_path / "scores.json", of_training)


def test_how_often_a_recipe_is_saved(tmp_path) -> None:
    def made(**training):
        return checkpoints(SimpleNamespace(training=training), tmp_path)

    (one,), (other,), (few,) = made(), made(checkpoint={"every_steps": 5, "keep": 1}), made(checkpoint={"keep": 2})
    assert one.folder == tmp_path / "checkpoints"
    assert (one.every_steps, one.every_minutes, one.keep) == (None, 10, 3)
    assert (other.every_steps, other.every_minutes, other.keep) == (5, None, 1)
    assert (few.every_steps, few.every_minutes, few.keep) == (None, 10, 2)
    assert made(checkpoint=False) == []


@pytest.mark.parametrize(
    ("optimizer", "data", "said"),
    [
        (None, None, ""),
        ("adam", {"sampling": "proportional"}, ""),
        ({"adamw": {"learning_rate": 1e-3}}, None, "The learning rate was spread"),
        (None, {"sampling": "annealed"}, "The sampling was spread"),
        ("adamw", {"sampling": "annealed"}, "The learning rate and the sampling were"),
    ],
)
def test_what_is_spread_over_all_epochs(optimizer, data, said) -> None:
    recipe = SimpleNamespace(training={"optimizer": optimizer}, data={"data": data}, modules=())
    assert spans_training(recipe).startswith(said) and bool(said) == bool(spans_training(recipe))
