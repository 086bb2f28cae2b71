"""Support-vector machines on n-grams."""

import pytest

from mtl.baselines.ngrams import character_ngrams, word_ngrams
from mtl.data.example import Example
from mtl.heads.classification import Classification
from mtl.heads.regression import Regression

HEAD = Classification(["bad", "good"])


def labelled(**texts: list[str]) -> list[tuple[Example, str]]:
    return [(Example(text), label) for label, each in texts.items() for text in each]


def test_parts_of_words_tell_the_class():
    train = labelled(good=["unsinkable", "unbreakable", "washable"], bad=["sinking", "breaking", "washing"])
    predicted = character_ngrams(train, [Example("drinkable"), Example("drinking")], HEAD)
    assert predicted == [{"label": "good"}, {"label": "bad"}]


def test_words_tell_the_class_where_their_parts_do_not():
    train = labelled(good=["cat sat", "cat ran"], bad=["act sat", "act ran"])
    predicted = word_ngrams(train, [Example("the cat"), Example("the act")], HEAD)
    assert predicted == [{"label": "good"}, {"label": "bad"}]


@pytest.mark.parametrize("baseline", [character_ngrams, word_ngrams])
def test_the_second_text_counts(baseline):
    train = [(Example("same", "yes really"), "good"), (Example("same", "no never"), "bad")]
    predicted = baseline(train, [Example("same", "never"), Example("same", "really")], HEAD)
    assert predicted == [{"label": "bad"}, {"label": "good"}]


def test_numbers_are_labels_too():
    train = [(Example("aa"), 1), (Example("aa"), 1.0), (Example("bb"), "2")]
    head = Classification(["1", "2"])
    predicted = character_ngrams(train, [Example("bb"), Example("aa")], head)
    assert head.report([2, 1], predicted, [Example("bb"), Example("aa")])["accuracy"] == 1.0


@pytest.mark.parametrize("baseline", [character_ngrams, word_ngrams])
def test_another_head_is_refused(baseline):
    with pytest.raises(TypeError, match="expect a Classification head, got Regression; choose another baseline."):
        baseline([(Example("a"), 1.0)], [Example("a")], Regression())
