"""The models of snownlp."""

import importlib.util
import sys

import pytest

from mtl.baselines.snownlp_models import _snownlp, character_model, tnt
from mtl.data.example import Example
from mtl.heads.classification import Classification
from mtl.heads.tagging import Tagging

installed = pytest.mark.skipif(not importlib.util.find_spec("snownlp"), reason="needs keras-mtl[demo]")

SENTENCES = [("我 看 书", "r v n"), ("他 看 我", "r v r"), ("书 好", "n a"), ("我 爱 花", "r v n")]


def words(text: str) -> Example:
    return Example.from_words(text.split())


def with_spans(example: Example, kinds: list[str]) -> tuple[Example, list[tuple[int, int, str]]]:
    return example, [(*word, kind) for word, kind in zip(example.words or (), kinds, strict=True)]


@installed
@pytest.mark.parametrize("level", ["word", "token"])
def test_tnt_tags_known_words(level):
    train = [with_spans(words(text), tags.split()) for text, tags in SENTENCES]
    head = Tagging(level=level)
    example, gold = with_spans(words("他 爱 书"), ["r", "v", "n"])
    (predicted,) = tnt(train, [example], head)
    assert [(span["text"], span["type"]) for span in predicted["spans"]] == [("他", "r"), ("爱", "v"), ("书", "n")]
    assert head.report([gold], [predicted], [example])["type_accuracy"] == 1.0


@installed
def test_tnt_tags_unknown_words_by_their_neighbours():
    train = [(words(text), tags.split()) for text, tags in SENTENCES]
    (predicted,) = tnt(train, [words("我 吃 饭")], Tagging(scheme=None))
    assert predicted == {"words": ["我", "吃", "饭"], "tags": ["r", "v", "n"]}


@installed
def test_tnt_joins_tags_of_a_scheme():
    train = [(words("in New York"), ["O", "B-LOC", "I-LOC"]), (words("in old Rome"), ["O", "O", "B-LOC"])]
    (predicted,) = tnt(train, [words("in New York")], Tagging())
    assert predicted["spans"] == [{"start": 3, "end": 11, "type": "LOC", "text": "New York"}]


@installed
def test_tnt_of_a_text_without_words():
    train = [(words(text), tags.split()) for text, tags in SENTENCES]
    (predicted,) = tnt(train, [Example("", words=())], Tagging(scheme=None))
    assert predicted == {"words": [], "tags": []}


@installed
def test_tnt_says_that_it_needs_more_texts():
    with pytest.raises(
        ValueError, match="expects training texts in which tags stand in many orders, got 2 words; give it more texts."
    ):
        tnt([(words("我 看"), ["r", "v"])], [], Tagging(scheme=None))


@installed
def test_character_model_cuts_texts_into_words():
    texts = [words(text) for text in ("我们 看 书", "我们 看 书", "书 我们 看")]
    train = [with_spans(text, ["word"] * len(text.words or ())) for text in texts]
    head = Tagging(level="token", scheme="BIOES")
    examples = [Example("我们看我们"), Example("我们看 书")]
    predicted = character_model(train, examples, head)
    assert [[span["text"] for span in each["spans"]] for each in predicted] == [["我们", "看", "我们"], ["我们", "看", "书"]]
    assert predicted[0]["tags"] == ["B-word", "E-word", "S-word", "B-word", "E-word"]
    gold = [[(0, 2, "word"), (2, 3, "word"), (3, 5, "word")], [(0, 3, "word"), (4, 5, "word")]]
    # 6 spans are predicted, 5 are gold, 4 are in both.
    assert head.report(gold, predicted, examples)["span_f1"] == pytest.approx(2 * 4 / (6 + 5))


def test_character_model_is_for_words():
    with pytest.raises(ValueError, match=r"expects spans of one type, words, got \['n', 'r'\]; choose another baseline."):
        character_model([with_spans(words("我 书"), ["r", "n"])], [], Tagging(level="token"))


@pytest.mark.parametrize("baseline", [tnt, character_model])
def test_another_head_is_refused(baseline):
    with pytest.raises(TypeError, match=f"Baseline '{baseline.__name__}' expects a Tagging head, got Classification"):
        baseline([], [], Classification())


@installed
def test_snownlp_does_not_load_its_own_models():
    assert _snownlp("utils.tnt").TnT and _snownlp("seg.y09_2047").CharacterBasedGenerativeModel
    assert not [name for name in sys.modules if name.partition(".")[0] == "snownlp"]
