import math

import numpy as np
import pytest
import tensorflow as tf

from mtl.data.example import Example
from mtl.data.sources.fields import Fields, class_names, plain
from mtl.data.sources.rows import Malformed

RECORD = {"a": "one", "b": "two", "words": ["in", "Rome"], "n": 3, "empty": "", "none": None, "nan": math.nan, "list": []}


@pytest.mark.parametrize(
    ("label", "labels"),
    [
        (None, {}),
        ("n", {"n": 3}),
        (["n", "b"], {"n": 3, "b": "two"}),
        (("n",), {"n": 3}),
        ({"count": "n", "other": "n"}, {"count": 3, "other": 3}),
        (["empty", "none", "nan", "absent", "list"], {"list": []}),
    ],
)
def test_labels(label, labels):
    assert Fields("a", label).row(RECORD, "here") == Example("one", None, None, labels)


def test_names():
    assert list(Fields("a", {"x": "b", "y": 3}).label) == ["x", "y"]
    assert list(Fields(0, 1).label) == ["1"]
    assert Fields(("a", "b"), ["b", "c"]).names == ("a", "b", "c")


def test_texts():
    assert Fields(("a", "b")).row(RECORD, "here") == Example("one", "two")
    assert Fields("words").row(RECORD, "here") == Example("in Rome", None, ((0, 2), (3, 7)), {})
    assert Fields(("a", "words")).row(RECORD, "here") == Example("one", "in Rome")
    with pytest.raises(ValueError, match="Expected text to name one field, or two for a pair, got"):
        Fields(("a", "b", "c"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ({"b": 1}, r"expected a field 'a', got \['b'\]; name the text's field with text="),
        ({"a": 5}, "expected a text or a list of words in 'a', got 5"),
        ({"a": None}, "expected a text or a list of words in 'a', got None"),
        ({"a": ["x", 1]}, r"expected a text or a list of words in 'a', got \['x', 1\]"),
        ({"a": "x\ud83d"}, r"expected a text in 'a', got half of a surrogate pair in 'x\\ud83d'"),
        (["a"], r"expected a record with named fields, got \['a'\]"),
    ],
)
def test_malformed_records(record, problem):
    row = Fields("a").row(record, "f, line 2")
    assert isinstance(row, Malformed)
    with pytest.raises(ValueError, match=f"^f, line 2: {problem}"):
        raise row


def test_convert():
    fields = Fields("a", {"score": "n", "other": "none"}, {"score": lambda value: value / 2, "other": float})
    assert fields.row(RECORD, "here") == Example("one", None, None, {"score": 1.5})
    row = Fields("a", {"score": "b"}, {"score": float}).row(RECORD, "f, line 2")
    assert "f, line 2: expected a value that convert['score'] takes, got 'two' (could not convert" in str(row)
    assert Fields("a", "n", {"n": {3: ""}.__getitem__}).row(RECORD, "here") == Example("one")
    with pytest.raises(ValueError, match="Unknown label in convert 'scor'; did you mean 'score'"):
        Fields("a", {"score": "b"}, {"scor": float})
    with pytest.raises(ValueError, match=r"Expected convert\['score'\] as a function, or a text to split values at, got ''"):
        Fields("a", {"score": "b"}, {"score": ""})


def test_check():
    Fields("a", ["b"]).check("data", ["a", "b", "c"])
    with pytest.raises(ValueError, match="Unknown field of 'data' 'labels'; did you mean 'label'"):
        Fields("a", "labels").check("data", ["a", "label"])


def test_plain():
    assert plain(np.int64(3)) == 3 and type(plain(np.int64(3))) is int
    assert plain("é".encode()) == "é"
    assert plain(np.array([[1, 2], [3, 4]])) == [[1, 2], [3, 4]]
    assert plain(np.array([b"a", "é".encode()], object)) == ["a", "é"]
    assert plain([(0, np.int32(3), b"LOC")]) == [(0, 3, "LOC")]
    assert plain({"start": np.array([1])}) == {"start": [1]}
    ragged = next(tf.data.Dataset.from_tensors(tf.ragged.constant([[b"a"], [b"b", b"c"]])).as_numpy_iterator())
    assert plain(ragged) == [["a"], ["b", "c"]]
    with pytest.raises(Malformed, match="expected UTF-8 text, got the bytes"):
        plain(b"\xff")


class Classes:
    def int2str(self, number):
        return "abc"[number]


class Several:
    feature = Classes()


def test_class_names():
    assert class_names(Classes(), 2) == "c"
    assert class_names(Classes(), -1) is None
    assert class_names(Classes(), None) is None
    assert class_names(Several(), [0, 2]) == ["a", "c"]
    assert class_names(object(), 2) == 2


def test_a_value_is_split_into_a_list():
    fields = Fields("text", "tags", {"tags": "|"})
    rows = [{"text": "t", "tags": value} for value in ("a| b", "", ["c"], None)]
    found = [fields.row(row, "here") for row in rows]
    assert [example.labels for example in found if isinstance(example, Example)] == [
        {"tags": ["a", "b"]},
        {"tags": []},
        {"tags": ["c"]},
        {},
    ]
