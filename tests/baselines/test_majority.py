"""The most frequent answer."""

import pytest

from mtl.baselines.majority import majority
from mtl.data.example import Example
from mtl.heads.classification import Classification
from mtl.heads.multi_label import MultiLabel
from mtl.heads.regression import Regression
from mtl.heads.tagging import Tagging

TEXTS = [Example(text) for text in ("北京好", "去上海", "好")]


def test_the_most_frequent_class():
    train = list(zip(TEXTS, [1, 2, 2.0], strict=True))
    head = Classification([1, 2])
    predicted = majority(train, TEXTS[:2], head)
    assert predicted == [{"label": "2"}, {"label": "2"}]
    assert head.report([2, 1], predicted, TEXTS[:2])["accuracy"] == 0.5


def test_of_equally_frequent_classes_the_first():
    assert majority(list(zip(TEXTS, ["b", "a"], strict=False)), TEXTS[:1], Classification(["b", "a"])) == [{"label": "a"}]


def test_the_most_frequent_set_of_labels():
    train = list(zip(TEXTS, ["rain|wind", "wind|rain", "rain"], strict=True))
    head = MultiLabel(["rain", "snow", "wind"])
    predicted = majority(train, TEXTS, head)
    assert predicted == [{"labels": ["rain", "wind"]}] * 3
    assert head.report(["rain|wind", "snow", "rain"], predicted, TEXTS)["subset_accuracy"] == pytest.approx(1 / 3)


def test_every_character_a_word():
    words = [[(0, 2, "word"), (2, 3, "word")], [(0, 1, "word"), (1, 3, "word")], [(0, 1, "word")]]
    head = Tagging(level="token", scheme="BIOES")
    predicted = majority(list(zip(TEXTS, words, strict=True)), TEXTS, head)
    assert [span["text"] for span in predicted[0]["spans"]] == ["北", "京", "好"]
    # 7 spans are predicted, 5 are gold, 3 are in both.
    assert head.report(words, predicted, TEXTS)["span_f1"] == pytest.approx(2 * 3 / (7 + 5))


def test_every_word_the_most_frequent_tag():
    texts = [Example.from_words(words) for words in (["我", "看", "书"], ["他", "来"])]
    tags = [["r", "v", "n"], ["r", "v"]]
    head = Tagging(["n", "r", "v"], scheme=None)
    predicted = majority(list(zip(texts, tags, strict=True)), texts, head)
    assert [each["tags"] for each in predicted] == [["r", "r", "r"], ["r", "r"]]
    assert head.report(tags, predicted, texts)["accuracy"] == pytest.approx(2 / 5)


def test_spans_of_gold_words_make_tags_too():
    text = Example.from_words(["我", "看", "书"])
    pos = [(0, 1, "r"), (1, 2, "v"), (2, 3, "v")]
    head = Tagging()
    (predicted,) = majority([(text, pos)], [text], head)
    assert [(span["text"], span["type"]) for span in predicted["spans"]] == [("我", "v"), ("看", "v"), ("书", "v")]
    assert head.report([pos], [predicted], [text])["type_accuracy"] == pytest.approx(2 / 3)


def test_no_entities_where_most_words_have_none():
    text = Example.from_words(["in", "New", "York", "it", "rains"])
    (predicted,) = majority([(text, ["O", "B-LOC", "I-LOC", "O", "O"])], [text], Tagging())
    assert predicted == {"words": ["in", "New", "York", "it", "rains"], "tags": ["O"] * 5, "spans": []}


def test_another_head_is_refused():
    with pytest.raises(TypeError, match="expects a Classification, MultiLabel or Tagging head, got Regression; compare by hand."):
        majority([(TEXTS[0], 1.0)], TEXTS, Regression())


def test_weights_count():
    train = [(Example("a", weight=3.0), "up"), (Example("b"), "down"), (Example("c"), "down")]
    assert majority(train, TEXTS[:1], Classification(["down", "up"])) == [{"label": "up"}]
    sets = [(Example("a", weight=0.5), "rain"), (Example("b"), "snow|rain")]
    assert majority(sets, TEXTS[:1], MultiLabel(["rain", "snow"])) == [{"labels": ["rain", "snow"]}]
