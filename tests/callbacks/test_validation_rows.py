from mtl import Task
from mtl.callbacks.validation_rows import validation_rows
from mtl.data.example import Example
from mtl.data.source import Source
from mtl.heads import Classification


def source(name, examples, labels):
    return Source(name, {"validation": lambda: iter(examples)}, labels)


def test_an_example_of_several_tasks_comes_once():
    both = source("both", [Example("one", labels={"a": 0, "b": 1}), Example("two", labels={"a": 1})], ("a", "b"))
    tasks = [Task("a", Classification(2), both), Task("b", Classification(2), both)]
    rows = validation_rows(tasks, 9)
    assert [(example.text, labels) for example, labels in rows] == [("one", {"a": 0, "b": 1}), ("two", {"a": 1})]


def test_one_text_with_other_words_is_another_example():
    first = source("a", [Example("ab", words=((0, 1), (1, 2)), labels={"a": 0})], ("a",))
    second = source("b", [Example("ab", words=((0, 2),), labels={"b": 1})], ("b",))
    rows = validation_rows([Task("a", Classification(2), first), Task("b", Classification(2), second)], 9)
    assert [labels for _, labels in rows] == [{"a": 0}, {"b": 1}]


def test_limits():
    many = source("many", [Example(str(i), labels={"a": 0}) for i in range(50)], ("a",))
    task = Task("a", Classification(2), many)
    assert [example.text for example, _ in validation_rows([task], 3, first=True)] == ["0", "1", "2"]
    drawn = [int(example.text) for example, _ in validation_rows([task], 10)]
    assert len(set(drawn)) == 10 and max(drawn) > 10
    assert drawn == [int(example.text) for example, _ in validation_rows([task], 10)]
    assert validation_rows([task], 0) == []
    assert validation_rows([Task("b", Classification(2))], 5) == []
