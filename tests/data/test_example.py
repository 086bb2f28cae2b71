import dataclasses

import pytest

from mtl.data import Example
from mtl.data.example import join_words, split_words


@pytest.mark.parametrize(
    ("words", "text", "spans"),
    [
        ([], "", ()),
        (["New", "York"], "New York", ((0, 3), (4, 8))),
        (["北", "京", "and", "天津", "，", "ok"], "北京 and 天津， ok", ((0, 1), (1, 2), (3, 6), (7, 9), (9, 10), (11, 13))),
        (["a", "", "b"], "a  b", ((0, 1), (2, 2), (3, 4))),
        (["\U00020000", "\U00020001"], "\U00020000\U00020001", ((0, 1), (1, 2))),
    ],
)
def test_words_are_joined_as_they_are_written(words, text, spans):
    assert join_words(words) == (text, spans)
    assert [text[start:end] for start, end in spans] == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" \t\n", []),
        ("Don't stop, it’s 3.5 km/h!", ["Don't", "stop", ",", "it’s", "3.5", "km/h", "!"]),
        ("re-use -x- a--b", ["re-use", "-", "x", "-", "a", "-", "-", "b"]),
        ("在2008年，Beijing办", ["在", "2008", "年", "，", "Beijing", "办"]),
        ("naïve ☃😀", ["naïve", "☃", "😀"]),
        ("cafe\u0301 हिन्दी में", ["cafe\u0301", "हिन्दी", "में"]),
    ],
)
def test_texts_are_split_into_words(text, words):
    assert [text[start:end] for start, end in split_words(text)] == words


def test_an_example_from_words():
    example = Example.from_words(["我", "爱", "Rome"], pair="b", labels={"mood": "up"})
    assert example == Example("我爱 Rome", "b", ((0, 1), (1, 2), (3, 7)), {"mood": "up"})
    assert Example("a").labels == {} and Example("a").words is None


def test_an_example_does_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Example("a").text = "b"  # type: ignore[misc]


def test_a_place_is_no_part_of_what_an_example_is():
    example = Example("a", place="news.csv, line 3")
    assert example == Example("a") and repr(example) == repr(Example("a"))
    assert dataclasses.replace(example, words=((0, 1),)).place == "news.csv, line 3"
    assert Example.from_words(["a"], place="here").place == "here" and Example("a").place is None
