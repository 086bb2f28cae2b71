import io

import pytest
from rich.console import Console

import mtl
from mtl.commands.inspection_tables import inspect_model, inspect_recipe
from mtl.commands.recipe_file import Document
from mtl.recipe import Recipe

ROWS = [("so good", 1.0, "up"), ("so good", 2.0, "down"), ("bad [b]", 3.5, "down"), ("a b c d", 0.5, "so[so]")]
DATA = {split: [{"text": t, "price": p, "mood": m} for t, p, m in ROWS] for split in ("train", "test")}


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=160)


def rows_of(console: Console) -> dict[str, list[str]]:
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]
    return {row[0]: row[1:] for row in reversed(cells)}  # Of rows of one name, the first.


def test_recipe(console: Console) -> None:
    recipe = {
        "sources": {"all": {"records": {"data": DATA, "label": ["price", "mood"]}}},
        "encoder": {"Recurrent": {"tokenizer": {"learn": "word"}, "embedding": 2, "units": 2, "max_length": 3}},
        "tasks": {"price": {"source": "all", "head": "Regression"}, "mood": {"source": "all", "head": "Classification"}},
        "data": {"cache_dir": None, "batch_size": 2},
    }
    inspect_recipe(Recipe(Document(recipe, {}, "r.yaml")), console, labels=2, rows=1)
    rows = rows_of(console)
    assert rows["minimum"] == ["0.5", "0.5"] and rows["maximum"] == ["3.5", "3.5"] and rows["mean"] == ["1.75", "1.75"]
    assert rows["deviation"] == ["1.14564"] * 2  # Squares of 0.75, 0.25, 1.75 and 1.25: 5.25 / 4.
    assert rows["down"] == ["2", "2"] and rows["so[so]"] == ["1", "1"] and rows["and 1 more labels"] == ["", ""]
    assert rows["repeated texts"] == ["1", "1"]
    # Words and signs: so good, so good, bad [ b ], a b c d.
    assert rows["tokens"] == ["12", "12"] and rows["cut at 3 tokens"] == ["50.00%", "50.00%"] and rows["longest"] == ["4", "4"]
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "1 texts carry different labels of 'mood'" in text and "3 texts stand in both 'train' and 'test'" in text
    assert "Row 1:" in text and "Row 2:" not in text


def test_doubtful_labels(console: Console) -> None:
    rows = {
        "train": [{"text": "a", "mood": "up", "marks": ["x;y"]}, {"text": "b", "mood": " up", "marks": ["z"]}],
        "test": [{"text": "c", "mood": "so[so]", "marks": ["z"]}],
    }
    recipe = {
        "sources": {"all": {"records": {"data": rows, "label": ["mood", "marks"]}}},
        "encoder": {"Recurrent": {"tokenizer": {"learn": "word"}, "embedding": 2, "units": 2}},
        "tasks": {"mood": {"source": "all", "head": "Classification"}, "marks": {"source": "all", "head": "MultiLabel"}},
        "data": {"cache_dir": None, "batch_size": 2},
    }
    inspect_recipe(Recipe(Document(recipe, {}, "r.yaml")), console)
    text = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    assert "Labels of 'mood' that stand in 'test' and never in 'train': 'so[so]' (1)." in text
    assert "Task 'mood': The labels ' up' and 'up' differ only by blanks around them" in text
    assert "Task 'marks': The label 'x;y' has ';' in it; split such values with convert= of the source" in text
    assert "Labels of 'marks'" not in text


def test_texts_of_one_task_in_the_splits_of_two_sources(console: Console) -> None:
    rows = [{"text": t, "mood": m} for t, _, m in ROWS[1:]]
    recipe = {
        "sources": {
            "a": {"records": {"data": {"train": rows}, "label": "mood"}},
            "b": {"records": {"data": {"test": rows[1:]}, "label": "mood"}},
        },
        "encoder": {"Recurrent": {"tokenizer": {"learn": "word"}, "embedding": 2, "units": 2}},
        "tasks": {"mood": {"source": ["a", "b"], "head": "Classification"}},
        "data": {"cache_dir": None, "batch_size": 2},
    }
    inspect_recipe(Recipe(Document(recipe, {}, "r.yaml")), console, labels=2, rows=1)
    assert "2 texts of 'mood' stand in both 'train' and 'test'" in console.file.getvalue()  # type: ignore[attr-defined]


def test_labels_that_are_lost(console: Console) -> None:
    spans = [[(0, 8, "LOC")], [(0, 8, "LOC"), (4, 8, "ORG")], [(1, 8, "LOC")]]
    rows = [{"text": "New York is", "place": value} for value in spans]
    recipe = {
        "sources": {"a": {"records": {"data": {"train": rows, "validation": rows[:2]}, "label": "place"}}},
        "encoder": {"Recurrent": {"tokenizer": {"learn": "word"}, "embedding": 2, "units": 2}},
        "tasks": {"place": {"source": "a", "head": {"Tagging": {"scheme": "BILOU", "overlaps": "longest"}}}},
        "data": {"cache_dir": None, "batch_size": 2},
    }
    inspect_recipe(Recipe(Document(recipe, {}, "r.yaml")), console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for split, lost in (("train", 2), ("validation", 1)):  # The nested one, and in "train" one that begins within a word.
        assert f"1 spans of 'place' in split '{split}' overlap longer ones" in text
        assert f"{lost} labels of 'place' in split '{split}' do not come back from their tokens: " in text


def test_model(console: Console) -> None:
    encoder = mtl.encoders.Recurrent(vocabulary_size=10, embedding=2, units=3)
    model = mtl.MultiTaskModel(encoder, [mtl.Task("many", mtl.heads.Classification(20))])
    inspect_model(model, console)
    rows = rows_of(console)
    # 6 features to 20 classes, with biases.
    assert rows["many"][:2] == ["Classification", "140"] and rows["many"][2].endswith("11 and 8 more")
    assert rows["longest text"] == ["any"] and rows["sharing"] == ["Hard()"]
