from types import SimpleNamespace

import pytest

from mtl import Task
from mtl.commands.data_files import tasks_of_files
from mtl.heads import Classification, MultiLabel, Regression, Tagging
from mtl.recipe import Recipe

RECIPE = """\
sources:
  news:
    unique:
      source:
        csv: {path: news.csv, text: body, delimiter: ;, label: [mood, kinds, price], convert: {kinds: "|", price: "x"}}
  places: {conll: {path: ner/, columns: {pos: 1, ner: 2}, comments: "#"}}
  other: {conll: {path: other/, columns: {ner: 1}, separator: ","}}
  words: {conllu: {path: words.conllu, labels: [upos, head]}}
encoder: Recurrent
tasks:
  feeling: {source: news, label: mood, head: Classification}
  kinds: {source: news, head: MultiLabel}
  ner: {source: [places, other], head: Tagging}
  upos: {source: words, head: Tagging}
"""
MODEL = SimpleNamespace(
    task_names=("feeling", "kinds", "ner", "upos"),
    tasks=[
        Task("feeling", Classification(["down", "up"])),
        Task("kinds", MultiLabel(["a", "b"])),
        Task("ner", Tagging(["O", "LOC"], scheme=None)),
        Task("upos", Tagging(["X"], scheme=None)),
    ],
)
FILES = {
    "news.csv": "body;mood;kinds;price\nso good;up;a|b;1x\n",
    "ner/train.txt": "# one\nin P O\nRome N LOC\n",
    "ner/test.txt": "# two\nto P O\nOslo N LOC\n",
    "other/train.txt": "in,O\nRome,LOC\n",
    "other/test.txt": "by,O\nParis,LOC\n",
    "words.conllu": "1\tin\tin\tX\t_\t_\t0\troot\t_\t_\n\n",
}


@pytest.fixture
def recipe(tmp_path):
    for name, content in {**FILES, "r.yaml": RECIPE}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    return Recipe.load(tmp_path / "r.yaml")


def read(recipe, *files, text=None):
    """Task -> texts and labels of its files."""
    tasks = tasks_of_files(MODEL, [str(file) for file in files], text, recipe)
    return {task.name: [(example.text, value) for example, value in task.labelled("test")] for task in tasks}


def test_only_a_tasks_own_columns_are_needed(recipe, tmp_path):
    """By the label's name, by the task's, and by number; the recipe's delimiter and conversions hold."""
    (tmp_path / "mood.csv").write_text("mood;body\ndown;so bad\n")
    (tmp_path / "kinds.csv").write_text("kinds;body\nb|a;so bad\n")
    (tmp_path / "x.conllu").write_text("1\tto\tto\tX\t_\t_\t_\t_\t_\t_\n\n")
    files = [f"feeling={tmp_path}/mood.csv", f"kinds={tmp_path}/kinds.csv", f"upos={tmp_path}/x.conllu"]
    assert read(recipe, *files) == {"feeling": [("so bad", "down")], "kinds": [("so bad", ["b", "a"])], "upos": [("to", ["X"])]}
    (tmp_path / "body.csv").write_text("mood;line\nup;not bad\n")
    assert read(recipe, f"feeling={tmp_path}/body.csv", text="line") == {"feeling": [("not bad", "up")]}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.csv", "mood;body\ndown;so bad\n"),
        ("m.tsv", "mood\tbody\ndown\tso bad\n"),
        ("m.jsonl", '{"mood": "down", "body": "so bad"}'),
    ],
)
def test_a_file_without_the_recipes_weights(recipe, tmp_path, caplog, name, content):
    """Said in one sentence; a weight that is there counts, and any other missing column is an error."""
    settings = recipe.data["sources"]["news"]["unique"]["source"]["csv"]
    settings |= {"weight": "w"}
    if not name.endswith(".csv"):
        del settings["delimiter"], settings["convert"]
        recipe.data["sources"]["news"] = {name.partition(".")[2]: settings}
    (tmp_path / name).write_text(content)
    file = f"feeling={tmp_path / name}"
    (task,) = tasks_of_files(MODEL, [file], None, recipe)
    assert [(example.weight, value) for example, value in task.labelled("test")] == [(1.0, "down")]
    assert f"{name} has no column 'w' for weights: its examples all count 1." in caplog.text
    (tmp_path / name).write_text(content.replace("mood", "w").replace("down", "0.5"))
    with pytest.raises(ValueError, match="Unknown .* 'mood'"):
        read(recipe, file)
    if name == "m.csv":
        (tmp_path / name).write_text("mood;body;w\ndown;so bad;0.5\n")
        (task,) = tasks_of_files(MODEL, [file], None, recipe)
        assert [example.weight for example, _ in task.labelled("test")] == [0.5]


def test_a_file_is_read_as_its_folder(recipe, tmp_path):
    assert read(recipe, f"ner={tmp_path}/ner/test.txt") == {"ner": [("to Oslo", ["O", "LOC"])]}
    assert read(recipe, f"ner={tmp_path}/other/test.txt") == {"ner": [("by Paris", ["O", "LOC"])]}
    both = read(recipe, f"ner={tmp_path}/ner/test.txt", f"ner={tmp_path}/other/test.txt")
    assert both == {"ner": [("to Oslo", ["O", "LOC"]), ("by Paris", ["O", "LOC"])]}


@pytest.mark.parametrize("name", ["elsewhere.txt", "elsewhere.conll", "elsewhere.bio", "elsewhere"])
def test_a_file_of_another_place_is_read_as_the_recipe_reads_such_files(recipe, tmp_path, name):
    (tmp_path / name).write_text("# three\nat P O\nLima N LOC\n")
    assert read(recipe, f"ner={tmp_path}/{name}") == {"ner": [("at Lima", ["O", "LOC"])]}


def test_a_file_of_another_kind_is_read_by_its_ending(recipe, tmp_path):
    (tmp_path / "x.jsonl").write_text('{"text": "so good", "mood": "up"}\n')
    assert read(recipe, f"feeling={tmp_path}/x.jsonl") == {"feeling": [("so good", "up")]}
    (tmp_path / "x.tsv").write_text("text\tfeeling\nso good\tup\n")
    assert read(None, f"feeling={tmp_path}/x.tsv") == {"feeling": [("so good", "up")]}


def test_what_cannot_be_read_is_said(recipe, tmp_path):
    with pytest.raises(ValueError, match=r"The model has the tasks .* Say which with --data TASK=x.csv"):
        read(recipe, "x.csv")
    with pytest.raises(ValueError, match="Unknown task 'feelings'; did you mean 'feeling'"):
        read(recipe, "feelings=x.csv")
    with pytest.raises(ValueError, match="Unknown kind of file '.txt'"):
        read(None, "ner=x.txt")
    with pytest.raises(ValueError, match="--text names a field, and files of the kind conll have none; got 'x.conll'"):
        read(recipe, "ner=x.conll", text="body")
    recipe.data["tasks"]["ner"]["source"] = ["places", "words"]
    with pytest.raises(ValueError, match=r"reads files of the kinds \['conll', 'conllu'\]; 'x.bio' is like none of them"):
        read(recipe, "ner=x.bio")
    (tmp_path / "none.csv").write_text("text;body\na;b\n")
    with pytest.raises(ValueError, match="Unknown column in .*none.csv, line 1: 'mood'"):
        read(recipe, f"feeling={tmp_path}/none.csv")


def test_one_task_needs_no_name(tmp_path):
    (tmp_path / "x.csv").write_text("text,price\nso good,1.5\n")
    model = SimpleNamespace(task_names=("price",), tasks=[Task("price", Regression(mean=0.0, scale=1.0))])
    (task,) = tasks_of_files(model, [f"{tmp_path}/x.csv"], None, None)
    assert [value for _, value in task.labelled("test")] == ["1.5"]
