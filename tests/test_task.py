import math

import keras
import pytest

from mtl import Task
from mtl.data import csv, records
from mtl.heads import Classification, MaskedLM, MultiLabel, Regression, Tagging


def source(label="mood", rows=None):
    return records(
        rows or [{"text": "a", "mood": "up", "size": 3}, {"text": "b", "mood": None, "size": 4}], label=label, fractions=None
    )


def test_the_label_is_the_one_named_or_the_one_like_the_task_or_the_only_one():
    both = source(["mood", "size"])
    assert Task("mood", Classification(2), both).label_in(both) == "mood"
    assert Task("anything", Classification(2), both, label="size").label_in(both) == "size"
    one = source("mood")
    assert Task("anything", Classification(2), one).label_in(one) == "mood"
    with pytest.raises(ValueError, match=r"carries the labels \['mood', 'size'\], none named like task 'anything'"):
        Task("anything", Classification(2), both)
    with pytest.raises(ValueError, match="Unknown label of task 'x' in source 'records' 'mod'; did you mean 'mood'"):
        Task("x", Classification(2), both, label="mod")


def test_unlabelled_examples_are_left_out():
    assert [value for _, value in Task("mood", Classification(2), source()).labelled("train")] == ["up"]


def test_what_a_head_learns_counts_examples_with_their_weights():
    rows = [("a", "up", 1.0, 3), ("b", "up", 5.0, 1), ("c", "down", 9.0, 0), ("d", "down", 5.0, 1), ("e", "up", None, 7)]
    data = [dict(zip(("text", "mood", "size", "w"), row, strict=True)) for row in rows]
    source = records(data, label=["mood", "size"], weight="w", fractions=None)
    mood = Task("mood", Classification(class_weights="balanced"), source)
    size = Task("size", Regression(), source)
    mood.prepare()
    size.prepare()
    assert mood.head.labels == ("down", "up")
    assert mood.head.class_weights == pytest.approx([12 / (2 * 1), 12 / (2 * 11)])
    assert (size.head.mean, size.head.scale) == pytest.approx((13 / 5, math.sqrt((3 * 1.6**2 + 2 * 2.4**2) / 5)))


def test_a_head_with_rows_of_its_own_needs_no_label():
    assert [value for _, value in Task("mlm", MaskedLM(), source(["mood", "size"])).labelled("train")] == [True, True]


def test_labels_come_from_the_training_split():
    rows = [{"text": t, "mood": m} for t, m in zip("abcd", ["up", "down", "up", "flat"], strict=True)]
    task = Task("mood", Classification(), source(rows=rows))
    task.prepare()
    assert task.head.labels == ("down", "flat", "up")


def test_bad_arguments():
    for name in ("", "2nd", "a b", "a/b", "情感"):
        with pytest.raises(ValueError, match="A task's name is a letter followed by"):
            Task(name, Classification(2))
    with pytest.raises(ValueError, match="cannot be named 'loss'"):
        Task("loss", Classification(2))
    with pytest.raises(ValueError, match="cannot be named 'val_mood': logs begin"):
        Task("val_mood", Classification(2))
    with pytest.raises(TypeError, match=r"got Classification\. Call it: Classification\(\)"):
        Task("mood", Classification)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expects `source` as a mtl.data.Source, a list"):
        Task("mood", Classification(2), ["file.csv"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="Task 'mood' has no source to take its labels from"):
        Task("mood", Classification()).prepare()
    with pytest.raises(ValueError, match=r"Give its head what it would learn, Regression\(mean=0.0, scale=1.0\)"):
        Task("stars", Regression()).prepare()
    with pytest.raises(ValueError, match="^task 'mood': Classification needs at least two labels.*; check the label's field"):
        Task("mood", Classification(), source(rows=[{"text": str(i), "mood": "up"} for i in range(9)])).prepare()
    empty = source(rows=[{"text": "a", "mood": None}])
    with pytest.raises(
        ValueError, match="No example of the training split is labelled for task 'mood'. Check its source and label."
    ):
        Task("mood", Tagging(), empty).prepare()


def test_configuration_holds_all_but_the_source():
    task = Task("mood", Classification(["a", "b"]), source(), label="mood")
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(task))
    assert (copy.name, copy.label, copy.sources, list(copy.head.labels)) == ("mood", "mood", (), ["a", "b"])


def test_labels_that_name_nothing_are_not_called_missing():
    rows = [{"text": ["a", "b"], "tags": ["O", "O"]}]
    with pytest.raises(ValueError, match="labels for task 'tags' name nothing to learn, such as tags that are all 'O'"):
        Task("tags", Tagging(), records(rows, label="tags", fractions=None)).prepare()


def test_a_label_that_cannot_be_learned_is_named_with_its_place(tmp_path):
    file = tmp_path / "sizes.csv"
    file.write_text("text,size\na,1.5\nb,abc\n")
    task = Task("size", Regression(), csv(file, label="size", fractions=None))
    with pytest.raises(ValueError, match="sizes.csv, line 3: task 'size': .*'abc'"):
        task.prepare()


def test_a_head_is_named_after_its_task():
    assert Task("mood", Classification(2)).head.name == "mood_head"
    assert Task("mood", Classification(2, name="mine")).head.name == "mine"


def test_doubtful_labels_are_told_before_training(caplog):
    rows = [{"text": "a", "on": ["x,y"]}, {"text": "b", "on": ["z", " z"]}]
    Task("on", MultiLabel(), records(rows, label="on", fractions=None)).prepare()
    first, second = [record.getMessage() for record in caplog.records if record.name == "mtl.task"]
    assert first.startswith("Task 'on': The labels ' z' and 'z' differ only by blanks")
    assert second.startswith("Task 'on': The label 'x,y' has ',' in it; split such values with convert=")
    caplog.clear()
    Task("on", MultiLabel(["x,y", "z", " z"]), records(rows, label="on", fractions=None)).prepare()
    assert not caplog.records


def test_sources_without_a_training_split():
    source = records({"test": [{"text": "a", "mood": "up"}]}, label="mood")
    with pytest.raises(ValueError, match=r"Task 'mood' learns its labels from a split 'train'; .* have only .'test'."):
        Task("mood", Classification(), source).prepare()


def test_a_source_labels_its_examples():
    books, films = records([{"text": "a", "mood": 1}], label="mood"), records([{"text": "b"}, {"text": "c"}], label=[])
    books.name, films.name = "books", "films"
    task = Task("domain", Classification(), [books, films], source_label=True)
    assert [(example.text, value) for example, value in task.labelled("train")] == [
        ("a", "books"),
        ("b", "films"),
        ("c", "films"),
    ]
    task.prepare()
    assert task.head.labels == ("books", "films")
    renamed = Task("domain", Classification(), [books, films], source_label={"films": "seen"})
    assert [value for _, value in renamed.labelled("train")] == ["seen", "seen"]
    assert Task.from_config(renamed.get_config()).source_label == {"films": "seen"}


def test_labels_of_sources_that_cannot_be_told_apart():
    one, other = records([{"text": "a"}], label=[]), records([{"text": "b"}], label=[])
    with pytest.raises(ValueError, match="names of its sources, which must differ; got"):
        Task("domain", Classification(), [one, other], source_label=True)
    one.name = "one"
    with pytest.raises(ValueError, match="Unknown source of task 'domain' 'on'; did you mean 'one'"):
        Task("domain", Classification(), [one, other], source_label={"on": 1})
    with pytest.raises(ValueError, match="takes label='mood' or a source_label; got both"):
        Task("domain", Classification(), one, label="mood", source_label=True)
