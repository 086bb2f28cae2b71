import numpy as np
import pytest

from mtl.utils.labels import Labels, doubtful_labels, label_text


def test_one_label_however_it_is_written():
    assert [label_text(value) for value in (3, 3.0, "3", np.int64(3), np.float32(3))] == ["3"] * 5
    assert [label_text(value) for value in (2.5, "a b", True)] == ["2.5", "a b", "True"]


@pytest.mark.parametrize("value", [None, ["a"], {"a": 1}, float("nan"), float("inf"), b"a"])
def test_what_is_no_label(value):
    with pytest.raises(ValueError, match="A label is a string or a finite number, got "):
        label_text(value)


def test_learns_strings_in_sorted_order():
    assert Labels.learn(["b", "a", "b", "C"]).names == ("C", "a", "b")


def test_learns_numbers_by_value_whatever_their_form():
    assert Labels.learn(["10", "9", "-1"]).names == ("-1", "9", "10")
    assert Labels.learn([10, 9, 10.0]).names == (9, 10)
    assert Labels.learn(["10", "9", "x"]).names == ("10", "9", "x")


def test_ids():
    labels = Labels(3)
    assert (labels.names, len(labels), labels.id("2"), labels.id(1.0)) == ((0, 1, 2), 3, 2, 1)


def test_unknown_label_names_the_nearest():
    with pytest.raises(ValueError, match="Unknown label 'sprots'; did you mean 'sports'[?] Known: politics, sports."):
        Labels(["sports", "politics"]).id("sprots")


def test_labels_must_differ():
    with pytest.raises(ValueError, match="Labels must differ, but '3' stands twice"):
        Labels(["a", 3, "3"])


def test_there_must_be_labels():
    with pytest.raises(ValueError, match="at least one label, got none"):
        Labels.learn([])


def test_numbers_by_label_and_by_position():
    labels = Labels(["a", "b", 3])
    assert labels.numbers("w", {"3": 4, "a": 2}) == (2.0, 1.0, 4.0)
    assert labels.numbers("w", [1, 2, 3]) == (1.0, 2.0, 3.0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([1.0], "`w` takes one number for each of 2 labels, got 1"),
        ([1.0, -1.0], "`w` takes positive finite numbers"),
        ([1.0, float("nan")], "`w` takes positive finite numbers"),
        ({"A": 1.0}, "Unknown label 'A'"),
    ],
)
def test_bad_numbers(given, message):
    with pytest.raises(ValueError, match=message):
        Labels(["a", "b"]).numbers("w", given)


def test_probabilities_of_few_and_of_many_labels():
    assert Labels([1, 2]).probabilities(np.array([0.25, 0.75])) == {"1": 0.25, "2": 0.75}
    many = np.arange(32) / 32
    assert Labels(32).probabilities(many) == {str(i): i / 32 for i in (31, 30, 29, 28, 27)}
    assert len(Labels(20).probabilities(np.zeros(20))) == 20


def test_doubtful_labels():
    assert doubtful_labels(["up", "down", "a;b", "a,b", 3]) == []
    (blanks,) = doubtful_labels(["up", "up ", "\u00a0up", 3, "3 "][:3])
    assert blanks.startswith("The labels 'up' and 'up ' and '\\xa0up' differ only by blanks around them; strip them")
    assert doubtful_labels([3, "3 "])[0].startswith("The labels '3' and '3 ' differ")
    semicolon, comma = doubtful_labels(["a;b", "c;d", "e,f", "g"], several=True)
    assert semicolon.startswith("The label 'a;b' and 1 more has ';' in it; split such values with convert= of the source")
    assert comma.startswith("The label 'e,f' has ',' in it")
