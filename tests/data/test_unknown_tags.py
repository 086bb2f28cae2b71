import pytest

from mtl.data.example import Example
from mtl.data.unknown_tags import known_rows, unknown_tags

BIO = ["O", "B-X", "I-X"]


@pytest.mark.parametrize(
    ("value", "known", "scheme", "count"),
    [
        ([], BIO, "BIO", 0),
        (["O", "B-X", "E-X"], BIO, "BIO", 0),
        (["B-Y", "I-Y", "O"], BIO, "BIO", 2),
        ([(0, 1, "Y"), (2, 3, "X"), (4, 5, "Y")], BIO, "BIO", 2),
        ([{"start": 0, "end": 1, "type": "Y"}], BIO, "BIO", 1),
        ([1, 2, 2], ["1"], None, 2),
    ],
)
def test_how_many_there_are(value, known, scheme, count):
    assert unknown_tags(value, known, scheme) == count


@pytest.mark.parametrize("level", ["word", "token"])
def test_spans_run_on_over_what_is_left_out(level):
    """B-X ? I-X: without the middle word, one span of two words, as in the graph. In the gold label I-X begins one after B-Y."""
    example = Example.from_words(["a", "b", "c"])
    tags = ["B-X", "I-X", "I-X"]
    found = {"tags": tags, "offsets": [(0, 1), (2, 3), (4, 5)], "spans": [{"start": 0, "end": 5, "type": "X"}]}
    gold, left, (without,), counted = known_rows([["B-X", "B-Y", "I-X"]], [found], [example], level, BIO, "BIO")
    assert gold == [["B-X", "B-X"]] and without.words == ((0, 1), (4, 5)) and counted == {"unknown": 1}
    assert left[0]["spans"] == [{"start": 0, "end": 5, "type": "X"}]
    assert known_rows([["B-Y"]], [{"tags": ["O"], "offsets": [(0, 1)]}], [Example.from_words(["a"])], level, BIO, "BIO") == (
        [], [], [], {"unknown": 1},
    )  # fmt: skip
