import numpy as np
import pytest

from mtl.data.annotation import (
    annotated_spans,
    annotated_types,
    annotated_units,
    blank_spans,
    count_overlapping,
    tagged_words,
    words_of,
)
from mtl.data.example import Example

NEW_YORK = Example.from_words(["in", "New", "York", "now"])  # "in New York now"
UNITS = [(-1, -1), (0, 2), (3, 6), (7, 9), (9, 11), (12, 15), (-1, -1)]


def test_words():
    assert words_of(NEW_YORK) == ((0, 2), (3, 6), (7, 11), (12, 15))
    assert words_of(Example("ab, 北京")) == ((0, 2), (2, 3), (4, 5), (5, 6))


@pytest.mark.parametrize(
    "value",
    [
        ["O", "B-LOC", "I-LOC", "O"],
        ["O", "I-LOC", "I-LOC", "O"],
        ["O", "B-LOC", "E-LOC", "O"],
        ["O", "B-LOC", "L-LOC", "O"],
        ["O", "B-LOC", "M-LOC", "O"],
        [(3, 11, "LOC")],
        [(2, 12, "LOC")],
        [{"start": 3, "end": 11, "type": "LOC", "text": "New York"}],
        [{"start": 3, "end": 11, "label": "LOC"}],
    ],
)
def test_all_forms_say_the_same(value):
    assert annotated_spans(value, NEW_YORK) == [(3, 11, "LOC")]
    assert annotated_types(value, "BIO") == {"LOC"}
    assert annotated_units(value, NEW_YORK, words_of(NEW_YORK), "BIO") == ["O", "B-LOC", "I-LOC", "O"]
    assert annotated_units(value, NEW_YORK, UNITS, "BIOES") == [None, "O", "B-LOC", "I-LOC", "E-LOC", "O", None]


def test_tags_of_characters():
    example = Example("我爱北京")
    tags = ["O", "O", "B-LOC", "I-LOC"]
    assert annotated_spans(tags, example) == [(2, 4, "LOC")]
    assert annotated_units(tags, example, [(0, 2), (2, 4)], "BIOES") == ["O", "S-LOC"]
    assert annotated_units(["r", "v", "ns", "x"], example, [(0, 1), (1, 2), (2, 4)], None) == ["r", "v", "ns"]


def test_without_a_scheme_a_token_takes_its_words_tag():
    assert annotated_units(["P", "N", "N", "R"], NEW_YORK, UNITS, None) == [None, "P", "N", "N", "N", "R", None]
    assert annotated_units([(3, 11, "N")], NEW_YORK, UNITS, None) == [None, "O", "N", "N", "N", "O", None]
    assert annotated_types(["P", 3], None) == {"P", "3"}
    assert annotated_types([(3, 11, "N")], None) == {"N", "O"}


def test_no_span():
    assert annotated_units([], NEW_YORK, words_of(NEW_YORK), "BIO") == ["O"] * 4


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (["O", "O"], "Expected one tag a word, 4 for 'in New York now', got 2"),
        ([(0, 5, "A"), (4, 6, "B")], r"do not overlap, got \(0, 5, 'A'\) and \(4, 6, 'B'\)"),
        ([(3, 99, "A")], r"0 <= start < end <= 15, the text's length; got \(3, 99, 'A'\)"),
        ([(3, 3, "A")], "0 <= start < end"),
        ([("0", 2, "A")], r"the text's length; got \('0', 2, 'A'\): count characters"),
        ([(0, 2.0, "A")], r"the text's length; got \(0, 2.0, 'A'\): count characters"),
        (
            "O B-LOC I-LOC O",
            r"Expected a list of tags, or of .* got str 'O B-LOC I-LOC O'; cut it, as in \['O', 'B-LOC', 'I-LOC'\]",
        ),
        ({"start": 3}, "Expected a list of tags, or of .* got dict {'start': 3}; give a list"),
        (
            [{"start": 3, "end": 11}],
            "Expected a span such as .* got {'start': 3, 'end': 11}; give each span its start, end and type",
        ),
        ([(0, 2, "A"), "B"], "Expected a span such as .* got 'B'"),
        ([(0, 2, None)], r"Expected a span such as .* got \(0, 2, None\); give each span its start, end and type"),
        ([(0, 2, ["A"])], r"Expected the type of a span as a text, such as .*; got \['A'\]. Give each one its name"),
        ([{"start": 0, "end": 2, "type": {"A": 1}}], "Expected the type of a span as a text"),
        ([(0, 2, float("nan"))], "Expected the type of a span as a text, .*; got nan"),
        ([(0, 2, True)], "Expected the type of a span as a text, .*; got True"),
        ([(True, 2, "A")], r"the text's length; got \(True, 2, 'A'\): count characters"),
        ([(0, np.True_, "A")], "the text's length"),
        (["O", None, "O", "O"], "Expected a tag as a text, .*; got None. Give each one its name"),
        (["O", ["B-LOC"], "O", "O"], r"Expected a tag as a text, .*; got \['B-LOC'\]"),
        (["NN"] * 4, "got 'NN'.*scheme=None"),
    ],
)
def test_bad_labels(value, message):
    with pytest.raises(ValueError, match=message):
        annotated_spans(value, NEW_YORK)


@pytest.mark.parametrize("value", [[(0, 2, None)], [(0, 2, ["X"])], ["O", None], [["B-X"], "O"]])
@pytest.mark.parametrize("scheme", ["BIO", None])
def test_what_is_no_tag_is_no_type(value, scheme):
    with pytest.raises(ValueError, match="Expected a(?: span such| tag as)|Expected the type of a span"):
        annotated_types(value, scheme)


def test_spans_of_white_space_alone():
    example, value = Example("a  b"), [(1, 3, "X"), (0, 2, "X"), (2, 3, "Y"), (2, 3, "Y")]
    assert annotated_spans(value, example) == [(0, 1, "X")] and annotated_spans(value, example, None) == [(0, 1, "X")]
    assert blank_spans(value, example) == [(1, 3, "X"), (2, 3, "Y")] and blank_spans(["O"] * 4, example) == []
    assert count_overlapping(value, example) == 0


def test_overlapping_spans():
    example, value = Example("abcdefghij"), [(0, 4, "A"), (1, 2, "B"), (3, 6, "C"), (6, 8, "D"), (6, 8, "E"), (6, 8, "D")]
    assert annotated_spans(value, example, "longest") == [(0, 4, "A"), (6, 8, "D")]
    assert annotated_spans(value, example, "shortest") == [(1, 2, "B"), (3, 6, "C"), (6, 8, "D")]
    assert annotated_spans(value, example, None) == sorted(set(value))
    assert (count_overlapping(value, example), count_overlapping(["O"] * 10, example)) == (3, 0)
    assert annotated_units(value, example, [(0, 1), (5, 6), (7, 8)], "BIO", "longest") == ["B-A", "O", "B-D"]
    assert tagged_words([(3, 6, "N")], NEW_YORK) == (NEW_YORK.words, ["O", "N", "O", "O"])


def test_wrong_number_of_characters():
    with pytest.raises(ValueError, match="one tag a character .*, 2 for '北京', got 1"):
        annotated_spans(["O"], Example("北京"))


def test_tags_of_words_for_a_text_without_words():
    remedy = r"got 3, one a word; give the text as a list of words, such as \['Bob', 'in', 'Rome'\]"
    with pytest.raises(ValueError, match=remedy):
        annotated_spans(["B-PER", "O", "B-LOC"], Example("Bob in Rome"))
