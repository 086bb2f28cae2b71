import pytest

from mtl.data import jsonl
from mtl.data.example import Example


def read(path, content, **options):
    path = path / "data.jsonl"
    path.write_text(content, "utf-8")
    return list(jsonl(path, **{"fractions": None, **options}).examples())


def test_values_stay_as_they_are(tmp_path):
    content = '{"text": "a", "tags": ["x", "y"], "n": 1.5, "spans": [[0, 1, "T"]]}\n\n{"text": "b", "n": null}\n'
    assert read(tmp_path, content, label=["tags", "n", "spans"]) == [
        Example("a", None, None, {"tags": ["x", "y"], "n": 1.5, "spans": [[0, 1, "T"]]}),
        Example("b"),
    ]


def test_words_and_pairs(tmp_path):
    content = '{"a": ["我", "爱", "Rome"], "b": "c"}\n'
    assert read(tmp_path, content, text=("a", "b")) == [Example("我爱 Rome", "c", ((0, 1), (1, 2), (3, 7)), {})]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (
            '{"text": "a"',
            r"expected one JSON object, got '{\"text\": \"a\"' \(Expecting ',' delimiter.*\); write one object a line",
        ),
        ("[" * 100_000, "expected one JSON object, got .*; write one object a line"),
        ("[1, 2]", r"expected a record with named fields, got \[1, 2\]"),
        ('{"txt": "a"}', r"expected a field 'text', got \['txt'\]; name the text's field with text="),
        ('{"text": 1}', "expected a text or a list of words in 'text', got 1"),
        (r'{"text": "\ud800"}', "expected a text in 'text', got half of a surrogate pair"),
    ],
    ids=["cut off", "deep", "a list", "no text", "a number", "half a pair"],
)
def test_malformed_lines(tmp_path, line, problem):
    with pytest.raises(ValueError, match=f"data.jsonl, line 3: {problem}"):
        read(tmp_path, f'{{"text": "fine"}}\n\n{line}\n')


@pytest.mark.parametrize(("given", "name"), [({"label": "mod"}, "mod"), ({"label": {"x": "mood"}, "weight": "ww"}, "ww")])
def test_a_field_that_no_object_has(tmp_path, given, name):
    """A misspelt name is an error; where one object has the field, the others are not labelled."""
    content = '{"text": "a", "mood": "up", "w": 1}\n{"text": "b", "w": 2}\n'
    with pytest.raises(ValueError, match=f"Unknown field of 'data.jsonl' '{name}'; did you mean '"):
        read(tmp_path, content, **given)
    assert [example.labels for example in read(tmp_path, content, label="mood", weight="w")] == [{"mood": "up"}, {}]
