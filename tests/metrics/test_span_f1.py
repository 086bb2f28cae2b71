import numpy as np
import pytest
from seqeval.metrics import classification_report, f1_score, precision_score, recall_score

from mtl.data.spans import scheme_labels, spans_of_tags
from mtl.metrics import SpanF1, span_scores
from mtl.utils.tags import SCHEMES

NAMES = ("span_f1", "span_precision", "span_recall")


def seqeval(gold, found):
    # It knows BIO and BIOES: other letters are put in theirs.
    letters = str.maketrans("MLU", "IES")
    gold, found = ([[tag[0].translate(letters) + tag[1:] for tag in tags] for tags in rows] for rows in (gold, found))
    return [score(gold, found, zero_division=0) for score in (f1_score, precision_score, recall_score)]


def random_batch(labels, rng, rows=30, length=12):
    """Tag ids in which predictions often agree with gold, and weights with gaps."""
    gold = rng.integers(0, len(labels), (rows, length))
    found = np.where(rng.random(gold.shape) < 0.7, gold, rng.integers(0, len(labels), gold.shape))
    return gold, found, rng.choice([0.0, 1.0], gold.shape)


def as_tags(labels, ids, weight):
    return [[labels[i] for i in row[marks > 0]] for row, marks in zip(ids, weight, strict=True)]


@pytest.mark.parametrize("scheme", list(SCHEMES))
def test_random_sequences_score_as_by_seqeval(scheme):
    labels, rng = scheme_labels("XYZ", scheme), np.random.default_rng(0)
    metric, gold, found = SpanF1(labels), [], []
    for _ in range(4):
        batch = random_batch(labels, rng)
        metric.update_state(batch[0], batch[1], batch[2], {})
        gold += as_tags(labels, batch[0], batch[2])
        found += as_tags(labels, batch[1], batch[2])
    expected = seqeval(gold, found)
    assert 0.2 < expected[0] < 0.9
    assert [float(metric.result()[name]) for name in NAMES] == pytest.approx(expected, abs=1e-6)
    scores = span_scores(map(spans_of_tags, gold), map(spans_of_tags, found))
    assert [scores[name] for name in NAMES] == pytest.approx(expected)


def test_spans_weigh_what_their_rows_do():
    """A row of weight 3 counts as three rows."""
    labels, rng = scheme_labels("XY", "BIO"), np.random.default_rng(1)
    gold, found, there = random_batch(labels, rng, rows=6)
    times = np.array([0, 3, 1, 2, 1, 3])
    weighted, copies = SpanF1(labels), SpanF1(labels)
    weighted.update_state(gold, found, there * times[:, None], {})
    repeated = [np.repeat(part, times, axis=0) for part in (gold, found, there)]
    copies.update_state(repeated[0], repeated[1], repeated[2], {})
    np.testing.assert_allclose(weighted.total, copies.total)
    real, others = ([spans_of_tags(tags) for tags in as_tags(labels, ids, there)] for ids in (gold, found))
    scores = span_scores(real, others, weights=times)
    assert [scores[name] for name in NAMES] == pytest.approx([float(weighted.result()[name]) for name in NAMES])


def test_logits_and_fillers():
    labels = ["O", "B-X", "I-X"]
    gold, found = np.array([[1, 2, -1], [-1, -1, -1]]), np.array([[1, 2, 0], [1, 1, 1]])
    metric = SpanF1(labels)
    metric.update_state(gold, np.eye(3)[found], np.array([[1, 1, 0], [0, 0, 0]]), {})
    assert metric.total.numpy().tolist() == [1, 1, 1, 2]


def test_nothing_to_find():
    metric = SpanF1(["O", "B-X"])
    metric.update_state(np.zeros((2, 3), int), np.zeros((2, 3), int), np.ones((2, 3)), {})
    metric.update_state(np.zeros((0, 3), int), np.zeros((0, 3), int), np.ones((0, 3)), {})
    assert [float(metric.result()[name]) for name in NAMES] == [0, 0, 0]
    assert span_scores([[]], [[]]) == dict.fromkeys(NAMES, 0.0)


def test_config():
    labels = ["O", "B-X", "I-X"]
    assert SpanF1.from_config(SpanF1(labels).get_config()).labels == labels


def test_each_type():
    labels, rng = scheme_labels("XYZ"), np.random.default_rng(1)
    gold, found = (as_tags(labels, ids, np.ones((30, 12))) for ids in random_batch(labels, rng)[:2])
    scores = span_scores(map(spans_of_tags, gold), map(spans_of_tags, found), per_type=True)
    expected = classification_report(gold, found, output_dict=True, zero_division=0)
    for kind in "XYZ":
        assert scores[f"span_f1:{kind}"] == pytest.approx(expected[kind]["f1-score"])
