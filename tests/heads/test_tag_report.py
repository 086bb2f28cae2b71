from mtl.data.example import Example
from mtl.heads.tag_report import tag_report

BIO = ["O", "B-X", "I-X"]


def test_weights_and_unknown_tags_by_hand():
    """Weights 3 and 1; the third word of the second text is not known, and its prediction does not count."""
    examples = [Example.from_words(["a", "b"], weight=3.0), Example.from_words(["a", "b", "c"])]
    predicted = [
        {"tags": ["B-X", "O"], "spans": [{"start": 0, "end": 1, "type": "X"}]},
        {"tags": ["O", "O", "B-X"], "spans": [{"start": 4, "end": 5, "type": "X"}]},
    ]
    gold = [["B-X", "O"], [(0, 1, "X"), (4, 5, "Y")]]
    scores = tag_report(gold, predicted, examples, "word", BIO, "BIO", per_class=True)
    assert scores == {
        "unknown": 1,
        "accuracy": 7 / 8,
        "span_f1": 6 / 7,
        "span_precision": 1.0,
        "span_recall": 3 / 4,
        "span_f1:X": 6 / 7,
        "type_accuracy": 3 / 4,
    }


def test_nothing_known():
    example = Example.from_words(["a"])
    assert tag_report([["Z"]], [{"tags": ["N"]}], [example], "word", ["N"], None) == {"unknown": 1}
    assert tag_report([["Z"]], [{"tags": ["N"]}], [example], "word", None, None) == {"accuracy": 0.0}
