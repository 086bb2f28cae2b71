import json
import os
from pathlib import Path

import pytest

from mtl.commands.run_folder import LOCK, MARKER, RunFolder, differences
from mtl.recipe import Recipe
from mtl.training.resume import snapshots

RECIPE = """\
sources: {moods: {csv: {path: mood.csv, label: mood}}}
encoder: {Recurrent: {tokenizer: {learn: word}, units: 8}}
tasks: {mood: {source: moods, head: Classification}}
train: {epochs: 3}
"""


@pytest.fixture
def load(tmp_path):
    (tmp_path / "r.yaml").write_text(RECIPE)
    return lambda *settings: Recipe.load(tmp_path / "r.yaml", settings)


def run(folder: RunFolder, recipe: Recipe, *, end: bool = True, checkpoint: bool = True) -> None:
    with folder.alone():
        folder.begin(recipe, folder.find(recipe))
        if checkpoint:
            snapshots.write(folder.path / "checkpoints", snapshots.name_of(3, 0), {}, {}, keep=3)
        if end:
            for name in ("model.keras", "results.json"):
                with folder.writing(name) as beside:
                    beside.write_text(f"{name} of {recipe.epochs}")
            folder.end()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("name", ["notes.txt", "logs/app.log", "recipe.yaml", "model.keras", "checkpoints/zz-step-mine/a"])
def test_a_folder_that_is_in_use_is_refused(tmp_path, load, name):
    path = tmp_path / "mine" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    for fresh in (False, True):
        with pytest.raises(FileExistsError, match=f"of its own; '.*mine' holds '{name.partition('/')[0]}', which no run wrote"):
            RunFolder(tmp_path / "mine").find(load(), fresh)
    assert contents(tmp_path / "mine") == {name: b"mine"}
    with pytest.raises(NotADirectoryError, match="expects a folder for its results; '.*' is a file"):
        RunFolder(path).find(load())


def test_a_new_an_empty_and_a_hidden_folder_are_taken(tmp_path, load):
    (tmp_path / "empty").mkdir()
    (tmp_path / "hidden" / ".git").mkdir(parents=True)
    for name in ("new/within", "empty", "hidden"):
        assert RunFolder(tmp_path / name).find(load()) == (True, "", False, False)


def test_one_run_at_a_time(tmp_path):
    if os.name != "posix":
        pytest.skip("this system does not lock files")
    with RunFolder(tmp_path / "run").alone():
        with pytest.raises(BlockingIOError, match="Another training is writing to '.*run'. Wait for its end, or name another"):
            with RunFolder(tmp_path / "run").alone():
                pass
    with RunFolder(tmp_path / "run").alone():
        pass
    assert [path.name for path in (tmp_path / "run").iterdir()] == [LOCK]


def test_the_same_recipe(tmp_path, load):
    folder = RunFolder(tmp_path / "run")
    run(folder, load(), end=False, checkpoint=False)
    found = folder.find(load())
    assert found.anew and "left no checkpoint: beginning anew" in found.said
    run(folder, load(), end=False)
    found = folder.find(load())
    assert not found.anew and not found.more and "Going on from the checkpoint 'epoch-000003-step-00000000'" in found.said
    run(folder, load())
    for elsewhere in ((), ("output=here",), ("train.checkpoint.keep=1",), ("data.cache_dir=null",)):
        found = folder.find(load(*elsewhere))
        assert found.finished and "is finished. For more epochs: --set train.epochs=6; to begin anew: --fresh." in found.said
    for report in ("report.split=validation", "baselines={mood: majority}"):
        found = folder.find(load(report))
        assert not found.finished and not found.anew and not found.more


def test_more_epochs_go_on_and_fewer_do_not(tmp_path, load):
    folder = RunFolder(tmp_path / "run")
    for end in (False, True):
        run(folder, load(), end=end)
        found = folder.find(load("train.epochs=5"))
        assert not found.anew and found.more and "to 5 epochs from 3." in found.said
        with pytest.raises(ValueError, match="holds a run of another recipe: train.epochs was 3, is 1. Name another folder"):
            folder.find(load("train={}"))


@pytest.mark.parametrize("end", [False, True])
def test_another_recipe_is_refused_with_what_changed(tmp_path, load, end):
    folder = RunFolder(tmp_path / "run")
    run(folder, load(), end=end)
    before = contents(tmp_path / "run")
    with pytest.raises(ValueError, match=r"encoder.Recurrent.units was 8, is 9; seed was nothing, is 4. Name .* with --fresh"):
        folder.find(load("encoder.Recurrent.units=9", "seed=4"))
    with pytest.raises(ValueError, match=r"another recipe: (.*; ){4}and 2 more"):
        folder.find(load("encoder.Recurrent={vocabulary_size: 9}", "seed=4", "train.epochs=9", f"balancer=PCGrad{'':100}"))
    assert contents(tmp_path / "run") == before


def test_fresh_removes_the_runs_own_files_and_no_others(tmp_path, load):
    folder = RunFolder(tmp_path / "run")
    run(folder, load())
    mine = ("notes.txt", "logs/app.log", "logs/train/mine", "checkpoints/zz-step-precious/a", "checkpoints/notes")
    for name in mine:
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).write_text("mine")
    other = load("seed=4")
    found = folder.find(other, fresh=True)
    assert found.anew and "Removing the run in" in found.said and (tmp_path / "run" / "model.keras").exists()
    folder.begin(other, found)
    assert contents(tmp_path / "run").keys() == {*mine, "recipe.yaml", MARKER, LOCK}
    assert "seed: 4" in (tmp_path / "run" / "recipe.yaml").read_text()


@pytest.mark.parametrize("name", ["model.keras", "recipe.yaml", "results.json"])
def test_what_somebody_put_there_stays(tmp_path, load, name):
    folder = RunFolder(tmp_path / "run")
    run(folder, load())
    (tmp_path / "run" / name).write_text("mine")
    for fresh in (False, True):
        with pytest.raises(FileExistsError, match=f"{name}' is not what a run wrote there, and would be replaced. Move it away"):
            RunFolder(tmp_path / "run").find(load(), fresh)
    with pytest.raises(OSError, match="is not what a run wrote there"), folder.writing(name) as beside:
        beside.write_text("other")
    assert (tmp_path / "run" / name).read_text() == "mine"


@pytest.mark.parametrize("name", ["logs", "checkpoints"])
def test_files_where_folders_go(tmp_path, load, name):
    run(RunFolder(tmp_path / "run"), load(), end=False, checkpoint=False)
    (tmp_path / "run" / name).write_text("mine")
    with pytest.raises(FileExistsError, match=f"expects a folder at '.*{name}', which is a file"):
        RunFolder(tmp_path / "run").find(load(), fresh=True)


def test_the_recipe_that_is_read_is_never_written(tmp_path, load):
    folder = RunFolder(tmp_path / "run")
    run(folder, load(), end=False)
    path = tmp_path / "run" / "recipe.yaml"
    os.utime(path, (0, 0))
    own = Recipe.load(path)
    folder.begin(own, folder.find(own))
    assert path.stat().st_mtime == 0
    more = Recipe.load(path, ["train.epochs=9"])
    for fresh in (False, True):
        with pytest.raises(FileExistsError, match="recipe.yaml' is read as the recipe, and the run would write it with"):
            folder.find(more, fresh)
    assert path.stat().st_mtime == 0


def test_a_file_that_was_not_put_in_its_place_does_not_lock_the_run_out(tmp_path, load, monkeypatch):
    folder = RunFolder(tmp_path / "run")
    run(folder, load())
    with pytest.raises(OSError, match="killed"), monkeypatch.context() as ended:
        real = os.replace

        def replace(here, there):
            if Path(there).name == "model.keras":
                raise OSError("killed")
            real(here, there)

        with folder.writing("model.keras") as beside:
            beside.write_text("new")
            ended.setattr("os.replace", replace)
    assert RunFolder(tmp_path / "run").find(load()).finished


@pytest.mark.parametrize("content", ["", "[]", "{}", "[" * 100_000, '{"mtl_run": 1, "recipe": 2, "finished": 3, "files": 4}'])
def test_a_damaged_marker(tmp_path, load, content):
    (tmp_path / MARKER).write_text(content)
    with pytest.raises(ValueError, match=f"{MARKER}', which says what in this folder is the run's, is damaged"):
        RunFolder(tmp_path).find(load())


def test_without_a_checkpoint_a_model_is_not_replaced(tmp_path, load):
    folder = RunFolder(tmp_path / "run")
    run(folder, load(), checkpoint=False)
    with pytest.raises(ValueError, match="holds a model, but no checkpoint to go on from. Name .* with --fresh"):
        folder.find(load("train.epochs=9"))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({}, {}, {}),
        ({"train": None}, {"train": {"epochs": 1}}, {}),
        (
            {"a": {"X": None}},
            {"a": {"Y": None}},
            {"a.X": (None, "nothing"), "a.Y": ("nothing", None)},
        ),
        ({"a": {"X": {}}}, {"a": {"Y": {}}}, {"a.X": ({}, "nothing"), "a.Y": ("nothing", {})}),
        ({"a": [1, 2]}, {"a": [2, 1]}, {"a": ([1, 2], [2, 1])}),
        ({"output": "a", "train": {"checkpoint": {"keep": 1}}}, {"train": {"checkpoint": False}}, {}),
    ],
)
def test_differences(old, new, expected):
    assert differences(old, new) == expected


def test_the_marker_is_plain_json(tmp_path, load):
    run(RunFolder(tmp_path / "run"), load())
    marker = json.loads((tmp_path / "run" / MARKER).read_text())
    assert marker["mtl_run"] == 1 and marker["finished"] and marker["recipe"]["train"] == {"epochs": 3}
    assert marker["files"].keys() == {"model.keras", "recipe.yaml", "results.json"}
