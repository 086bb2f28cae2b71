from itertools import product

import keras
import numpy as np
import pytest
import tensorflow as tf
from seqeval.metrics import f1_score

import mtl
from mtl.data.encoding import Encoding
from mtl.data.example import Example
from mtl.data.spans import convert_tags, scheme_labels
from mtl.heads import Tagging
from mtl.utils.tags import SCHEMES

LABELS = ["O", "B-X", "I-X", "B-Y", "I-Y"]
WORDS = Example.from_words(["in", "New", "Yorkshire", "now"])  # "in New Yorkshire now"
PIECES = [(-1, -1), (0, 2), (3, 6), (7, 11), (11, 16), (17, 20), (-1, -1)]


def encoding(offsets=PIECES, text=WORDS.text, segments=None):
    segments = np.zeros(len(offsets), "int32") if segments is None else np.array(segments, "int32")
    return Encoding(np.arange(len(offsets), dtype="int32"), segments, np.array(offsets, "int32"), text)


def predicted(head, tags):
    """A prediction of these tags, one a token, with probability 1/2 each."""
    return {"tags": np.array([head.labels.index(tag) for tag in tags]), "probability": np.full(len(tags), 0.5, "float32")}


def features(rows=2, length=4, width=3, **more):
    sequence = np.random.default_rng(0).normal(size=(rows, length, width)).astype("float32")
    return {"sequence": sequence, "padding_mask": np.ones((rows, length), "int32"), **more}


# Labels ---------------------------------------------------------------------------------------------------------------


def test_learns_all_tags_of_the_types_that_occur():
    head = Tagging()
    assert (head.ready, head.labels) == (False, None)
    head.learn([["O", "B-PER"], ["I-LOC", "I-LOC"], [(0, 2, "ORG")]])
    assert head.labels == ("O", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-PER", "I-PER")
    head = Tagging(scheme="BIOES")
    head.learn([["O", "B-PER"]])
    assert head.labels == ("O", "B-PER", "I-PER", "E-PER", "S-PER")


def test_learns_plain_tags_sorted():
    head = Tagging(scheme=None)
    head.learn([["VB", "NN"], ["NN", "DT"]])
    assert head.labels == ("DT", "NN", "VB")


def test_learns_nothing_from_nothing():
    head = Tagging()
    head.learn([])
    assert not head.ready


def test_a_number_of_tags():
    head = Tagging(3)
    assert (head.labels, head.level, head.scheme) == ((0, 1, 2), "token", None)
    assert head.encode([0, 2, 1, 0], WORDS, encoding())[0].tolist() == [0, 0, 2, 1, 1, 0, 0]
    assert head.activate(head(features()), features()).shape == (2, 4, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": "words"}, "Unknown level of tags 'words'; did you mean 'word'"),
        ({"scheme": "IOBES"}, "Unknown tag scheme 'IOBES'"),
        ({"unknown": "ignored"}, "expects `unknown` as one of 'raise', 'ignore'; got 'ignored'"),
        ({"labels": ["O", "NN"]}, "got 'NN'.*scheme=None"),
        ({"labels": ["O", "S-X"]}, "Expected labels of BIO, got 'S-X'; pass scheme='BIOES' or scheme='BMES'"),
        ({"labels": ["O", "U-X"]}, "Expected labels of BIO, got 'U-X'; pass scheme='BILOU'"),
        ({"overlaps": "long"}, "Unknown way with overlapping spans 'long'; did you mean 'longest'"),
        ({"labels": LABELS, "class_weights": {"B-Z": 2.0}}, "Unknown label 'B-Z'; did you mean 'B-"),
        ({"labels": 3, "level": "word"}, r"Tagging\(3\) takes a tag for each token; got level='word'"),
        ({"crf": True, "focal": 2.0}, "A CRF scores whole sequences"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        Tagging(**options)


def test_labels_must_be_known():
    with pytest.raises(ValueError, match="does not know its labels yet: pass `labels`"):
        Tagging()(features())


# Host -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [["O", "B-X", "I-X", "B-Y"], ["O", "I-X", "I-X", "I-Y"], [(3, 16, "X"), (17, 20, "Y")]])
def test_a_words_tag_sits_on_its_first_token(value):
    target, weight = Tagging(LABELS).encode(value, WORDS, encoding())
    assert target.tolist() == [0, 0, 1, 2, 0, 3, 0]
    assert weight.tolist() == [0, 1, 1, 1, 0, 1, 0]
    assert (target.dtype, weight.dtype) == ("int32", "float32")


def test_every_token_has_a_tag():
    labels = scheme_labels("XY", "BIOES")
    head = Tagging(labels, level="token", scheme="BIOES")
    target, weight = head.encode(["O", "B-X", "I-X", "B-Y"], WORDS, encoding())
    assert [labels[i] for i in target] == ["O", "O", "B-X", "I-X", "E-X", "S-Y", "O"]
    assert weight.tolist() == [0, 1, 1, 1, 1, 1, 0]


def test_tokens_cut_off_lose_their_tags():
    for level in ("word", "token"):
        target, weight = Tagging(LABELS, level=level).encode(["O", "B-X", "I-X", "B-Y"], WORDS, encoding(PIECES[:3]))
        assert (target.tolist(), weight.tolist()) == ([0, 0, 1], [0, 1, 1])


def test_the_second_text_has_no_tags():
    pair = encoding([*PIECES, (0, 2), (-1, -1)], segments=[0] * 7 + [1, 1])
    _, weight = Tagging(LABELS, level="token").encode([(0, 2, "X")], WORDS, pair)
    assert weight.tolist() == [0, 1, 1, 1, 1, 1, 0, 0, 0]


def test_tags_of_characters():
    example = Example("我爱北京")
    tokens = encoding([(-1, -1), (0, 1), (1, 2), (2, 3), (3, 4)], example.text)
    for level in ("word", "token"):
        target, weight = Tagging(LABELS, level=level).encode(["O", "O", "B-X", "I-X"], example, tokens)
        assert (target.tolist(), weight.tolist()) == ([0, 0, 0, 1, 2], [0, 1, 1, 1, 1])


def test_unknown_tags():
    value = ["O", "B-Z", "I-Z", "B-Y"]
    with pytest.raises(ValueError, match="Unknown label 'B-Z'; did you mean 'B-"):
        Tagging(LABELS).encode(value, WORDS, encoding())
    target, weight = Tagging(LABELS, unknown="ignore").encode(value, WORDS, encoding())
    assert (target.tolist(), weight.tolist()) == ([0, 0, 0, 0, 0, 3, 0], [0, 1, 0, 0, 0, 1, 0])


def test_schemes_are_told_by_their_tags():
    values = (["O", "B-X", "L-X", "U-Y"], ["O", "B-X", "E-X", "S-Y"], ["O", "I-X", "I-X", "B-Y"], [(3, 16, "X"), (17, 20, "Y")])
    for scheme, expected in {"BILOU": "O B-X L-X U-Y", "BMES": "O B-X E-X S-Y", "BIO": "O B-X I-X B-Y"}.items():
        head = Tagging(scheme=scheme)
        head.learn(values)
        for value in values:
            target, weight = head.encode(value, WORDS, encoding())
            assert [(head.labels or ())[i] for i in target[weight > 0]] == expected.split()
            found = head.decode({"tags": target, "probability": weight}, WORDS, encoding())
            assert found["tags"] == expected.split() and head.report([value], [found], [WORDS])["span_f1"] == 1.0


def test_overlapping_spans():
    value = [(3, 6, "X"), (3, 16, "Y"), (7, 16, "X"), (7, 20, "X"), (17, 20, "Y"), (17, 20, "Y")]
    with pytest.raises(ValueError, match=r"got \(3, 6, 'X'\) and \(3, 16, 'Y'\); .*Tagging\(overlaps='longest'\)"):
        Tagging(LABELS).encode(value, WORDS, encoding())
    for overlaps, kept, lost in (("longest", ["O", "B-Y", "I-Y", "B-Y"], 3), ("shortest", ["O", "B-X", "B-X", "B-Y"], 2)):
        head = Tagging(LABELS, overlaps=overlaps)
        target, weight = head.encode(value, WORDS, encoding())
        found = head.decode({"tags": target, "probability": weight}, WORDS, encoding())
        assert (found["tags"], head.lost(value, WORDS, encoding(), target)) == (kept, lost)
        assert head.report([value], [found], [WORDS])["span_f1"] == 1.0
        assert Tagging.from_config(head.get_config()).overlaps == overlaps


def test_decodes_words():
    head = Tagging(LABELS)
    decoded = head.decode(predicted(head, ["O", "O", "B-X", "I-X", "O", "B-Y", "O"]), WORDS, encoding())
    assert decoded == {
        "words": ["in", "New", "Yorkshire", "now"],
        "tags": ["O", "B-X", "I-X", "B-Y"],
        "probabilities": [0.5] * 4,
        "spans": [
            {"start": 3, "end": 16, "type": "X", "text": "New Yorkshire"},
            {"start": 17, "end": 20, "type": "Y", "text": "now"},
        ],
    }
    cut = head.decode(predicted(head, ["O", "O", "B-X"]), WORDS, encoding(PIECES[:3]))
    assert (cut["tags"], cut["probabilities"]) == (["O", "B-X", "O", "O"], [0.5, 0.5, 0.0, 0.0])


def test_decodes_tokens():
    head = Tagging(LABELS, level="token")
    decoded = head.decode(predicted(head, ["O", "O", "B-X", "I-X", "I-X", "O", "O"]), WORDS, encoding())
    assert decoded["tokens"] == ["in", "New", "York", "shire", "now"]
    assert decoded["offsets"] == [list(span) for span in PIECES[1:-1]]
    assert decoded["tags"] == ["O", "B-X", "I-X", "I-X", "O"]
    assert decoded["spans"] == [{"start": 3, "end": 16, "type": "X", "text": "New Yorkshire"}]


def test_decodes_plain_tags():
    head = Tagging(["DT", "NN"], scheme=None)
    probabilities = np.tile(np.array([0.25, 0.75], "float32"), (7, 1))
    decoded = head.decode(probabilities, WORDS, encoding())
    assert (decoded["tags"], decoded["probabilities"]) == (["NN"] * 4, [0.75] * 4)
    assert "spans" not in decoded


def test_report_is_seqevals():
    head, rng = Tagging(LABELS), np.random.default_rng(0)
    examples = [Example.from_words(["w"] * rng.integers(1, 9)) for _ in range(25)]
    gold = [convert_tags(rng.choice(LABELS, len(e.words or ())).tolist(), "BIO") for e in examples]
    found = [convert_tags([tag if rng.random() < 0.7 else str(rng.choice(LABELS)) for tag in tags], "BIO") for tags in gold]
    decoded = []
    for example, tags in zip(examples, found, strict=True):
        decoded.append(head.decode(predicted(head, tags), example, encoding(example.words, example.text)))
    scores = head.report(gold, decoded, examples)
    assert scores["span_f1"] == pytest.approx(f1_score(gold, found))
    pairs = [pair for rows in zip(gold, found, strict=True) for pair in zip(*rows, strict=True)]
    assert scores["accuracy"] == pytest.approx(np.mean([a == b for a, b in pairs]))
    firsts = [(a, b) for a, b in pairs if a[0] == "B"]
    assert scores["type_accuracy"] == pytest.approx(np.mean([a[2:] == b[2:] for a, b in firsts]))


def test_report_by_hand():
    head = Tagging(LABELS, level="token")
    found = head.decode(predicted(head, ["O", "B-Y", "B-X", "I-X", "O", "B-Y", "O"]), WORDS, encoding())
    scores = head.report([[(3, 16, "X"), (17, 20, "Y")]], [found], [WORDS], per_class=True)
    assert scores == pytest.approx(
        {  # Of "in", "New", "York", "shire", "now" three are right; "now" is right of two spans, both begin right.
            "accuracy": 3 / 5,
            "span_f1": 2 / 5,
            "span_precision": 1 / 3,
            "span_recall": 1 / 2,
            "span_f1:X": 0.0,
            "span_f1:Y": 2 / 3,
            "type_accuracy": 1.0,
        }
    )
    plain = Tagging(["A", "B"], scheme=None)
    found = plain.decode(np.eye(2)[[0, 0, 1, 0, 0, 1, 0]], WORDS, encoding())
    assert plain.report([["A", "B", "B", "B"]], [found], [WORDS]) == {"accuracy": 3 / 4}


# Graph ----------------------------------------------------------------------------------------------------------------


def test_loss_of_independent_tags():
    head = Tagging(["a", "b"], scheme=None, class_weights={"b": 3.0})
    scores = np.log(np.array([[[0.7, 0.3], [0.4, 0.6], [0.5, 0.5]]], "float32"))
    loss_sum, weight_sum = head.loss(np.array([[0, 1, 1]]), scores, np.array([[1.0, 1.0, 0.0]]), {})
    assert float(loss_sum) == pytest.approx(-np.log(0.7) - 3 * np.log(0.6))
    assert float(weight_sum) == pytest.approx(4.0)


def crf_head(labels=LABELS, **options):
    head = Tagging(labels, crf=True, dropout=0.0, **options)
    head(features())
    rng = np.random.default_rng(1)
    for variable in (head.transitions, head.start, head.end):
        variable.assign(rng.normal(size=variable.shape))
    return head


def test_crf_loss_is_of_rows_and_its_weight_of_tokens():
    head = crf_head(["O", "B-X", "I-X"])
    batch = features()
    scores = np.asarray(head(batch))
    target, weight = np.array([[1, 2, 0, 0], [0, 1, 2, 1]]), np.array([[1, 0, 1, 1], [0.5, 0.5, 0.5, 0.5]], "float32")
    transitions, start, end = (np.asarray(v) for v in (head.transitions, head.start, head.end))
    expected = 0.0
    for row in range(2):
        places = np.flatnonzero(weight[row])

        def score(path, row=row, places=places):
            steps = sum(transitions[a, b] for a, b in zip(path, path[1:], strict=False))
            return start[path[0]] + end[path[-1]] + steps + sum(scores[row, p, t] for p, t in zip(places, path, strict=True))

        total = np.logaddexp.reduce([score(path) for path in product(range(3), repeat=len(places))])
        expected += weight[row].max() * (total - score(target[row, places]))
    loss_sum, weight_sum = head.loss(target, scores, weight, batch)
    assert float(loss_sum) == pytest.approx(expected, rel=1e-5)
    assert float(weight_sum) == 5.0


@pytest.mark.parametrize("scheme", list(SCHEMES))
@pytest.mark.parametrize("crf", [False, True])
def test_predicted_sequences_are_valid(scheme, crf):
    labels = scheme_labels("XY", scheme)
    head = crf_head(labels, scheme=scheme) if crf else Tagging(labels, scheme=scheme)
    rng = np.random.default_rng(0)
    mask = rng.integers(0, 2, (50, 9))
    scores = rng.normal(size=(50, 9, len(labels))).astype("float32")
    prediction = head.activate(scores, {"padding_mask": np.ones_like(mask), "word_mask": mask})
    tags = [[labels[i] for i in row[marks > 0]] for row, marks in zip(prediction["tags"].numpy(), mask, strict=True)]
    assert all(convert_tags(row, scheme) == row for row in tags)
    best = [[labels[i] for i in row[marks > 0]] for row, marks in zip(scores.argmax(-1), mask, strict=True)]
    assert any(convert_tags(row, scheme) != row for row in best)
    assert (prediction["probability"].numpy()[mask == 0] == 0).all()


def test_probability_of_a_tag():
    head = Tagging(["O", "B-X", "I-X"])
    scores = np.log(np.array([[[0.2, 0.1, 0.7], [0.1, 0.2, 0.7]]], "float32"))
    prediction = head.activate(scores, {"padding_mask": np.ones((1, 2), "int32")})
    # Of O O, O B, B I ... the best product is 0.1 * 0.7 = B I; O B has 0.2 * 0.2.
    assert prediction["tags"].numpy().tolist() == [[1, 2]]
    np.testing.assert_allclose(prediction["probability"], [[0.1, 0.7]], rtol=1e-5)


class _Tokenizer:
    pad_id, cls_id, sep_id = 0, 2, 3


class _Encoder:
    tokenizer = _Tokenizer()


def test_special_tokens_and_second_texts_are_no_part_of_the_sequence():
    head = Tagging(LABELS, level="token")
    head.attach(_Encoder())
    more = {"token_ids": np.array([[2, 7, 8, 3, 9, 3, 0]]), "segment_ids": np.array([[0, 0, 0, 0, 1, 1, 0]])}
    mask = np.array([[1, 1, 1, 1, 1, 1, 0]])
    prediction = head.activate(np.zeros((1, 7, 5), "float32"), {"padding_mask": mask, "word_mask": 0 * mask, **more})
    assert (prediction["probability"].numpy() > 0).tolist() == [[False, True, True, False, False, False, False]]


def test_evaluation_scores_the_predicted_sequence():
    head = Tagging(["O", "B-X", "I-X"])
    batch = features(rows=3, word_mask=np.array([[1, 0, 1, 1], [1, 1, 1, 1], [1, 1, 0, 0]]))
    target, weight = np.zeros((3, 4), "int32"), np.array([[1, 0, 1, 1], [0, 0, 0, 0], [1, 1, 0, 0]], "float32")
    scores = head(batch)
    for training in (True, False):
        outputs = head.score(target, weight, batch, training=training)[2]
        if training:
            assert outputs.shape == (3, 4, 3)
        else:
            own = [0, 2]
            np.testing.assert_array_equal(outputs.numpy()[own], head.activate(scores, batch)["tags"].numpy()[own])


def test_learns_a_rule_between_tags():
    """Two tags that alternate; only the first token says with which they begin."""
    rng = np.random.default_rng(0)
    first = rng.integers(0, 2, 64)
    target = (first[:, None] + np.arange(6)) % 2
    sequence = np.zeros((64, 6, 2), "float32")
    sequence[np.arange(64), 0, first] = 1.0
    batch = {"sequence": tf.constant(sequence), "padding_mask": tf.ones((64, 6), "int32")}
    weight = tf.ones((64, 6))
    right = {}
    for crf in (False, True):
        head = Tagging(["a", "b"], scheme=None, crf=crf, level="token", dropout=0.0)
        head(batch)
        optimizer = keras.optimizers.Adam(0.3)

        @tf.function(autograph=False)
        def step(head=head, optimizer=optimizer):
            with tf.GradientTape() as tape:
                loss_sum, weight_sum, _ = head.score(target, weight, batch, training=True)
                loss = loss_sum / weight_sum
            values = [v.value for v in head.trainable_variables]
            optimizer.apply(tape.gradient(loss, values), head.trainable_variables)

        optimizer.build(head.trainable_variables)
        for _ in range(25):
            step()
        prediction = head.activate(head(batch), batch)
        tags = prediction["tags"].numpy() if crf else prediction.numpy().argmax(-1)
        right[crf] = (tags == target).mean()
    assert right[True] == 1.0
    assert right[False] < 0.8


@pytest.mark.parametrize("crf", [False, True])
def test_bytes_of_a_character_stand_outside_the_sequence(crf):
    """Training, `evaluate`, `predict_text` and `report` see the tags of the characters' first bytes alone."""
    tokenizer = mtl.data.Tokenizer.learn("bpe", ["a"], size=261)
    rows = [{"text": "北京天", "tags": [(0, 2, "X")]}, {"text": "天a北", "tags": [(0, 1, "X"), (2, 3, "X")]}] * 4
    head = Tagging(["O", "B-X", "I-X"], level="token", crf=crf)
    task = mtl.Task("names", head, mtl.data.records({"train": rows, "test": rows}, label="tags"))
    model = mtl.MultiTaskModel(mtl.encoders.Recurrent(tokenizer, embedding=8, units=8), task)
    data = mtl.data.mix(task, model.encoder, batch_size=8, cache_dir=False)
    test = mtl.data.mix(task, model.encoder, "test", batch_size=8, cache_dir=False)
    x, _, weight = next(iter(test))
    assert x["token_mask"].numpy().sum() == weight["names"].numpy().sum() == 24
    np.testing.assert_array_equal(x["token_mask"], weight["names"])
    model.compile(keras.optimizers.Adam(0.05))
    for _ in range(3):
        model.fit(data, verbose=0)
        logs = model.evaluate(test, verbose=0, return_dict=True)
        figures = model.report("test")["names"]
        name = next(key for key in logs if key.endswith("span_f1"))
        assert figures["span_f1"] == pytest.approx(logs[name], abs=1e-6)
    # A tag at a byte that is no character's first says nothing, and may not stand between two of a span.
    scores = np.full([1, 6, 3], -9.0, "float32")
    scores[0, range(6), [1, 0, 0, 2, 0, 0]] = 9.0
    mask = np.array([[1, 0, 0, 1, 0, 0]])
    features = {"padding_mask": np.ones_like(mask), "token_ids": np.full_like(mask, 9), "token_mask": mask}
    assert head.activate(scores, features)["tags"].numpy()[0, [0, 3]].tolist() == [1, 2]
