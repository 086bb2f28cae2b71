import json
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

from mtl.data import Example, Tokenizer
from mtl.data.annotation import annotated_spans, annotated_units, tagged_words, words_of
from mtl.data.spans import scheme_labels
from mtl.data.tag_units import TagUnits, lost_labels, tag_units
from mtl.data.tokenizers.in_graph.alignment import align_words
from mtl.heads import Tagging
from mtl.utils.tags import SCHEMES
from tests.served import assert_served

TEXTS = [
    "北京天安门",
    "我爱北京，天安门！",
    "in Ham\u00adburg now",
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 رفت",
    "👩\u200d👩\u200d👧 in 👍🏽 ☀\ufe0f ok ❤\ufe0f",
    "cafe\u0301 Zu\u0308rich nai\u0308ve",
    "اَلْعَرَبِيَّةُ جميلة",
    "हिन्दी दिल्लि में",
    "New\u200bYork, 北\u200b京 \u200b ok",
    "葛\U000e0100城 ﷺ ﬁne ＡＢＣ 한국어 Ǆ",
    " \u00a0 two  spaces \t here ",
    "I'm in New York's 5th ave. (Tokyo東京)",
]
#: What small vocabularies are learned from: some texts come out as long tokens, others as bytes or unknown ones.
CORPUS = [*TEXTS[:4], "北京 天安门 in Hamburg now New York 東京 Tokyo हिन्दी"] * 9
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def sentence_pieces(kind):
    """A tokenizer as XLM-R's (unigrams) or Llama's (byte pairs of characters): words are marked by "▁"."""
    if kind == "unigram":
        hf = tokenizers.Tokenizer(models.Unigram())
        trainer: Any = trainers.UnigramTrainer(vocab_size=120, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False)
    else:
        hf = tokenizers.Tokenizer(models.BPE(unk_token="<unk>"))
        trainer = trainers.BpeTrainer(vocab_size=160, special_tokens=SPECIAL, show_progress=False)
    hf.normalizer = normalizers.NFKC()
    hf.pre_tokenizer = pre_tokenizers.Metaspace(split=kind == "unigram")
    hf.train_from_iterator(CORPUS[4::5], trainer)
    hf.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return Tokenizer(hf.to_str(), pad="<pad>", unknown="<unk>", cls="<s>", sep="</s>", mask="<mask>")


@pytest.fixture(scope="module")
def all_tokenizers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "hamburg",
        "in",
        "new",
        "##york",
        "北",
        "京",
        "##a",
        "##e",
        "c",
        "##f",
    ]
    (folder / "vocab.txt").write_text("\n".join(pieces), "utf-8")
    return {
        "character": Tokenizer.learn("character", CORPUS),
        "character, lower case": Tokenizer.learn("character", CORPUS, lowercase=True, normalize="NFKC", cls=True),
        "word": Tokenizer.learn("word", CORPUS),
        "word pieces": Tokenizer.learn("wordpiece", CORPUS, size=250, cls=True),
        "word pieces, lower case": Tokenizer.learn("wordpiece", CORPUS, size=250, lowercase=True),
        "word pieces with accents": Tokenizer.learn("wordpiece", CORPUS, size=250, lowercase=True, strip_accents=False),
        "bytes": Tokenizer.learn("bpe", ["a"], size=261),
        "byte pairs": Tokenizer.learn("bpe", CORPUS, size=400, cls=True),
        "byte pairs of two words": Tokenizer.learn("bpe", ["北京", "天安门"] * 9, size=285),
        "folder": Tokenizer.from_folder(folder),
        "unigrams": sentence_pieces("unigram"),
        "character pairs": sentence_pieces("bpe"),
    }


KINDS = [
    "character", "character, lower case", "word", "word pieces", "word pieces, lower case", "word pieces with accents", "bytes",
    "byte pairs", "byte pairs of two words", "folder", "unigrams", "character pairs",
]  # fmt: skip


def random_spans(units, rng):
    """Spans from unit to unit that do not overlap."""
    cuts = np.sort(rng.choice(len(units) + 1, min(len(units) + 1, 2 * rng.integers(1, 3)), replace=False))
    pairs = [pair for pair in zip(cuts[::2], cuts[1::2], strict=False) if rng.random() < 0.9]
    return [(units[a][0], units[b - 1][1], str(rng.choice(["X", "Y"]))) for a, b in pairs]


def back(head, value, example, encoding):
    """What `decode` makes of the target that `encode` makes of a label."""
    target, weight = head.encode(value, example, encoding)
    found = head.decode({"tags": target, "probability": weight}, example, encoding)
    return found, head.lost(value, example, encoding, target)


def assert_figures_agree(head, value, example, encoding, rng):
    """Where nothing is lost, `SpanF1` over random tags of tokens gives what `report` gives for what they decode to."""
    target, weight = head.encode(value, example, encoding)
    if head.lost(value, example, encoding, target) or not weight.any():
        return
    tags = np.where(rng.random(len(target)) < 0.7, target, rng.integers(0, len(head.labels), len(target)))
    found = head.decode({"tags": tags, "probability": np.ones(len(tags))}, example, encoding)
    metric = head.make_metrics()["spans"]
    metric.update_state(target[None], tags[None], weight[None], {})
    figures = head.report([value], [found], [example])
    for name, figure in metric.result().items():
        assert figures[name] == pytest.approx(float(figure), abs=1e-6), (example.text, value, tags)


def readable(span, spans, units, tokens):
    """Whether a span can come back, by what its units and tokens cover: told without the alignment under test.

    The units must tile it, each token that touches it must not touch a unit outside it, and its outer units must have tokens.
    """
    start, end, _ = span
    inside = [unit for unit in units if start < unit[1] and unit[0] < end]
    others = [unit for unit in units if unit not in inside]
    if not inside or (inside[0][0], inside[-1][1]) != (start, end):
        return False
    touching = [token for token in tokens if start < token[1] and token[0] < end]
    if any(token[0] < b and a < token[1] for token in touching for a, b in others):
        return False
    return all(any(token[0] < b and a < token[1] for token in touching) for a, b in (inside[0], inside[-1]))


@pytest.mark.parametrize("kind", KINDS)
def test_labels_come_back_or_count_as_lost(all_tokenizers, kind):
    tokenizer, rng = all_tokenizers[kind], np.random.default_rng(len(kind))
    whole = total = 0
    for text in TEXTS:
        example = Example(text)
        encoding = tokenizer.encode([text])[0]
        tokens = [tuple(span) for span in encoding.offsets.tolist() if span[0] >= 0]
        for turn in range(24):
            scheme, level = list(SCHEMES)[turn % 4], ("word", "token")[turn // 4 % 2]
            head = Tagging(scheme_labels("XY", scheme), scheme=scheme, level=level)
            units = words_of(example) if turn % 3 or level == "word" else [(i, i + 1) for i in range(len(text))]
            value = random_spans(units, rng)
            wanted = annotated_spans(value, example)
            found, lost = back(head, value, example, encoding)
            given = {(span["start"], span["end"], span["type"]) for span in found["spans"]}
            assert lost == len(set(wanted) - given) + sum(text[start:end].isspace() for start, end, _ in value)
            own = words_of(example) if level == "word" else [tuple(span) for span in encoding.own_characters()[1].tolist()]
            if level == "token":
                assert len(given) == len(found["spans"]) and found["offsets"] == [list(unit) for unit in own]
                assert_figures_agree(head, value, example, encoding, rng)
            for span in wanted:
                assert span in given or not readable(span, wanted, own, tokens), (kind, text, level, span, given)
            if level == "word" and not lost:
                assert found["tags"] == annotated_units(value, example, words_of(example), scheme)
            whole, total = whole + len(set(wanted) & given), total + len(wanted)
    assert whole > total / 3


@pytest.mark.parametrize("kind", KINDS)
def test_plain_tags_come_back_or_count_as_lost(all_tokenizers, kind):
    rng = np.random.default_rng(1)
    for text in TEXTS:
        words = Example(text, words=words_of(Example(text)))
        encoding = all_tokenizers[kind].encode([text])[0]
        for example in (words, Example(text)):
            value = rng.choice(["N", "V"], len(tagged_words([], example)[0] if example.words else text)).tolist()
            found, lost = back(Tagging(["N", "V"], scheme=None), value, example, encoding)
            wanted = annotated_units(value, example, words_of(example), None)
            if example.words:
                assert lost == sum(a != b for a, b in zip(wanted, found["tags"], strict=True))
            assert lost >= sum(a != b for a, b in zip(wanted, found["tags"], strict=True))


@pytest.mark.parametrize("kind", KINDS[:-1])  # TensorFlow has no operations for pairs of characters
def test_exports_give_what_decode_gives(all_tokenizers, kind):
    tokenizer, rng = all_tokenizers[kind], np.random.default_rng(2)
    graph = tokenizer.graph()
    tokens = graph(tf.constant(TEXTS))
    tokens = {**tokens, **align_words(tokens, *graph.word_spans(tf.constant(TEXTS)))}
    encodings = tokenizer.encode(TEXTS)
    shape = tokens["token_ids"].shape
    options: list[dict[str, Any]] = [{"scheme": scheme, "level": level} for scheme in SCHEMES for level in ("word", "token")]
    for option in [*options, {"scheme": None}, {"scheme": None, "level": "token"}]:
        labels = scheme_labels(["X", ""], option["scheme"]) if option["scheme"] else ["N", "V"]
        head = Tagging(labels, **option)
        ids, probability = rng.integers(0, len(labels), shape), rng.random(shape).astype("float32")
        prediction = {"tags": tf.constant(ids, tf.int32), "probability": tf.constant(probability)}
        served = {name: value.numpy() for name, value in head.serve(prediction, tokens).items()}
        for i, (text, encoding) in enumerate(zip(TEXTS, encodings, strict=True)):
            size = len(encoding)
            mine = head.decode({"tags": ids[i][:size], "probability": probability[i][:size]}, Example(text), encoding)
            assert_served(head, {name: value[i] for name, value in served.items()}, mine, text)


# By hand --------------------------------------------------------------------------------------------------------------


def test_a_token_over_several_words(all_tokenizers):
    example = Example("北京天安门")
    encoding = all_tokenizers["byte pairs of two words"].encode([example.text])[0]
    assert encoding.offsets.tolist() == [[0, 2], [2, 5]]
    head = Tagging(["O", "B-LOC", "I-LOC"])
    found, lost = back(head, [(0, 5, "LOC")], example, encoding)
    assert (found["tags"], lost) == (["B-LOC", "I-LOC", "I-LOC", "I-LOC", "I-LOC"], 0)
    assert head.report([[(0, 5, "LOC")]], [found], [example])["span_f1"] == 1.0
    # The first token says what its first word is; a span from its second word on, and one of its first alone, are lost.
    found, lost = back(head, [(0, 1, "LOC"), (1, 5, "LOC")], example, encoding)
    assert (found["tags"], lost) == (["B-LOC", "I-LOC", "B-LOC", "I-LOC", "I-LOC"], 2)
    assert [(span["start"], span["end"]) for span in found["spans"]] == [(0, 2), (2, 5)]


@pytest.mark.parametrize("scheme", list(SCHEMES))
def test_a_span_runs_on_over_words_without_a_token(all_tokenizers, scheme):
    example = Example.from_words(["in", "New", "\u200b", "York", "\u200b", "now"])
    encoding = all_tokenizers["folder"].encode([example.text])[0]
    head = Tagging(scheme_labels(["LOC"], scheme), scheme=scheme)
    first, inner, last, _ = SCHEMES[scheme]
    value = ["O", f"{first}-LOC", f"{inner}-LOC", f"{last}-LOC", "O", "O"]
    found, lost = back(head, value, example, encoding)
    assert (found["tags"], lost) == (value, 0)
    assert found["probabilities"] == [1, 1, 0, 1, 0, 1]
    assert head.report([value], [found], [example])["span_f1"] == 1.0
    # Which words without a token a span begins or ends with, tokens do not say.
    assert back(head, ["O", "O", "B-LOC", "I-LOC", "O", "O"], example, encoding)[1] == 1
    assert back(head, ["O", "O", "B-LOC", "O", "O", "O"], example, encoding)[1] == 1


def test_bytes_of_a_character_are_tagged_at_the_first(all_tokenizers):
    example, head = Example("北京"), Tagging(["O", "B-X", "I-X"], level="token")
    encoding = all_tokenizers["bytes"].encode([example.text])[0]
    assert encoding.offsets.tolist() == [[0, 1]] * 3 + [[1, 2]] * 3
    target, weight = head.encode([(0, 1, "X")], example, encoding)
    assert (target.tolist(), weight.tolist()) == ([1, 0, 0, 0, 0, 0], [1, 0, 0, 1, 0, 0])
    found = head.decode({"tags": np.array([1, 0, 1, 0, 0, 0]), "probability": np.ones(6)}, example, encoding)
    assert found["spans"] == [{"start": 0, "end": 1, "type": "X", "text": "北"}]
    assert (found["tokens"], found["tags"]) == (["北", "京"], ["B-X", "O"])
    assert back(head, [(0, 2, "X")], example, encoding)[1] == 0


@pytest.mark.parametrize("level", ["word", "token"])
def test_spans_of_white_space_are_lost(all_tokenizers, level):
    example = Example("in  new")
    encoding = all_tokenizers["word"].encode([example.text])[0]
    for labels, scheme in ((["O", "B-X", "I-X"], "BIO"), (["O", "X"], None)):
        head = Tagging(labels, level=level, scheme=scheme)
        assert back(head, [(2, 4, "X"), (3, 7, "X"), (2, 3, "Z")], example, encoding)[1] == 1  # Z is not a known type


def test_tags_of_word_segmentation(all_tokenizers):
    example, head = Example("我爱北京天安门"), Tagging(scheme="BMES")
    head.learn([[*"SSBEBME"]])
    assert head.labels == ("O", "B", "M", "E", "S")
    encoding = all_tokenizers["character"].encode([example.text])[0]
    found, lost = back(head, [*"SSBEBME"], example, encoding)
    assert (found["tags"], lost) == ([*"SSBEBME"], 0)
    assert [span["text"] for span in found["spans"]] == ["我", "爱", "北京", "天安门"]
    figures = head.report([[*"SSBEBME"]], [found], [example], per_class=True)
    assert figures == {"accuracy": 1.0, "span_f1": 1.0, "span_precision": 1.0, "span_recall": 1.0, "type_accuracy": 1.0}


def test_words_that_were_cut_off(all_tokenizers):
    example, head = Example("in new new new"), Tagging(["O", "B-X", "I-X"])
    encoding = all_tokenizers["word"].encode([example.text], max_length=2)[0]
    value = [(3, 6, "X"), (7, 14, "X")]
    found, lost = back(head, value, example, encoding)
    assert (found["tags"], lost) == (["O", "B-X", "O", "O"], 1)


def test_units_by_hand():
    units = TagUnits(np.array([[0, 1], [1, 2], [2, 3], [4, 6]]), np.array([0, 3]), np.array([1, 3]), np.array([2, 5]))
    assert units.spread(["a", "b"], "-") == ["a", "a", "-", "b"]
    assert units.spans(["B-X", "I-X"]) == [(0, 4, "X")] and units.characters([(0, 4, "X")]) == [(0, 6, "X")]
    assert units.spans(["B-X", "B-Y"]) == [(0, 2, "X"), (3, 4, "Y")]


def test_no_words_or_tokens(all_tokenizers):
    for text in ("", " ", "\u200b"):
        encoding = all_tokenizers["folder"].encode([text])[0]
        for level in ("word", "token"):
            assert tag_units(Example(text), encoding, level).positions.tolist() == []
    units = tag_units(Example("\u200b"), all_tokenizers["folder"].encode(["\u200b"])[0], "word")
    assert lost_labels([(0, 1, "X")], Example("\u200b"), units, [], ["O", "B-X"], "BIO") == 1
    assert lost_labels([(0, 1, "Z")], Example("\u200b"), units, [], ["O", "B-X"], "BIO") == 0  # not a known type
    assert json.dumps(units.characters([])) == "[]"
