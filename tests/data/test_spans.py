import numpy as np
import pytest
from seqeval.metrics.sequence_labeling import get_entities

from mtl.data.spans import (
    allowed_transitions,
    convert_tags,
    cover,
    scheme_labels,
    spans_of_tags,
    tags_of_spans,
)
from mtl.utils.tags import SCHEMES, split_tag

SPANS = [(0, 1, "A"), (1, 4, "A"), (5, 7, "B")]
BIO = ["B-A", "B-A", "I-A", "I-A", "O", "B-B", "I-B"]
IOB1 = ["I-A", "B-A", "I-A", "I-A", "O", "I-B", "I-B"]
BIOES = ["S-A", "B-A", "I-A", "E-A", "O", "B-B", "E-B"]
BILOU = ["U-A", "B-A", "I-A", "L-A", "O", "B-B", "L-B"]
BMES = ["S-A", "B-A", "M-A", "E-A", "O", "B-B", "E-B"]


@pytest.mark.parametrize("tags", [BIO, IOB1, BIOES, BILOU, BMES])
def test_tags_to_spans(tags):
    assert spans_of_tags(tags) == SPANS


def test_spans_to_tags():
    assert tags_of_spans(SPANS, 7) == BIO
    assert tags_of_spans(SPANS, 7, "BIOES") == BIOES
    assert tags_of_spans(SPANS, 7, "BILOU") == BILOU
    assert tags_of_spans(SPANS, 7, "BMES") == BMES


@pytest.mark.parametrize("tags", [BIO, IOB1, BIOES, BILOU, BMES])
def test_conversion(tags):
    assert convert_tags(tags, "BIO") == BIO
    assert convert_tags(tags, "BIOES") == BIOES
    assert convert_tags(tags, "BILOU") == BILOU
    assert convert_tags(tags, "BMES") == BMES


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ([], []),
        (["O", "I-A"], [(1, 2, "A")]),
        (["B-A", "I-B"], [(0, 1, "A"), (1, 2, "B")]),
        (["B-A-b", "I-A-b"], [(0, 2, "A-b")]),
    ],
)
def test_invalid_and_odd_sequences(tags, spans):
    assert spans_of_tags(tags) == spans


@pytest.mark.parametrize("prefixes", ["BI", "BIES"])
def test_random_sequences_read_as_seqeval_reads_them(prefixes):
    labels = ["O", *(f"{p}-{t}" for p in prefixes for t in "XY")]
    rng = np.random.default_rng(0)
    for _ in range(500):
        tags = rng.choice(labels, rng.integers(0, 9)).tolist()
        assert spans_of_tags(tags) == [(start, end + 1, kind) for kind, start, end in get_entities(tags)]


def test_labels_of_a_scheme():
    assert scheme_labels(["B", "A", "B"]) == ["O", "B-A", "I-A", "B-B", "I-B"]
    assert scheme_labels({"A"}, "BIOES") == ["O", "B-A", "I-A", "E-A", "S-A"]
    assert scheme_labels({"A"}, "BILOU") == ["O", "B-A", "I-A", "L-A", "U-A"]
    assert scheme_labels({"A"}, "BMES") == ["O", "B-A", "M-A", "E-A", "S-A"]
    with pytest.raises(ValueError, match="Unknown tag scheme 'BIOSE'; did you mean 'BIOES'"):
        scheme_labels(["A"], "BIOSE")


def test_a_tag_without_prefix():
    assert split_tag("I-x-y") == ("I", "x-y")
    for tag in ("NN", "B-", "-X", "O-X", "", "Bx"):
        with pytest.raises(ValueError, match=f"Expected a tag such as 'O', 'B-LOC' or 'I-LOC', got '{tag}'.*scheme=None"):
            split_tag(tag)


@pytest.mark.parametrize("scheme", list(SCHEMES))
def test_a_sequence_is_allowed_where_it_spells_what_it_reads_as(scheme):
    labels = scheme_labels("XY", scheme)
    follows, begins, ends = allowed_transitions(labels)
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(2000):
        ids = rng.integers(0, len(labels), rng.integers(1, 4))
        allowed = bool(begins[ids[0]] and ends[ids[-1]] and all(follows[a, b] for a, b in zip(ids, ids[1:], strict=False)))
        tags = [labels[i] for i in ids]
        assert allowed == (convert_tags(tags, scheme) == tags), tags
        seen.add(allowed)
    assert seen == {True, False}


def test_cover():
    units = [(0, 1), (1, 3), (3, 5), (5, 6), (-1, -1), (7, 7), (8, 9)]
    assert cover(np.array(units), [(1, 4), (4, 6), (8, 12)]).tolist() == [-1, 0, 0, 1, -1, -1, 2]
    assert cover(np.array(units), []).tolist() == [-1] * 7
    assert cover(np.zeros([0, 2], int), [(0, 1)]).tolist() == []


def test_tags_without_a_type():
    words = [(0, 2, ""), (2, 3, ""), (3, 6, "")]
    assert spans_of_tags([*"BESBME"]) == spans_of_tags([*"BIBBII"]) == words
    assert spans_of_tags(["B", "I", "I-X", "O", "I"]) == [(0, 2, ""), (2, 3, "X"), (4, 5, "")]
    assert tags_of_spans(words, 6, "BMES") == [*"BESBME"] and scheme_labels([""], "BMES") == [*"OBMES"]
    follows, begins, ends = allowed_transitions([*"BMES"])
    assert follows.astype(int).tolist() == [[0, 1, 1, 0], [0, 1, 1, 0], [1, 0, 0, 1], [1, 0, 0, 1]]
    assert begins.tolist() == [True, False, False, True] and ends.tolist() == [False, False, True, True]
