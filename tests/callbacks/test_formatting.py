import html

import pytest

from mtl.callbacks.formatting import example_text, gold_text, markdown_table, prediction_text
from mtl.data.example import Example
from mtl.heads import Classification, MultiLabel, Regression, Tagging


def test_texts_of_examples():
    assert example_text(Example("一\n二")) == "一 二"
    assert example_text(Example("a", "b")) == "a / b"


@pytest.mark.parametrize(
    ("prediction", "text"),
    [
        ({"label": 3, "probability": 0.5, "probabilities": {}}, "3 (50%)"),
        ({"labels": ["a", "b"], "probabilities": {}}, "a, b"),
        ({"labels": [], "probabilities": {}}, "none"),
        ({"value": 2.0}, "2"),
        ({"words": ["New", "York"], "tags": ["B-X", "I-X"], "spans": [{"text": "New York", "type": "X"}]}, "X: New York"),
        ({"words": ["a"], "tags": ["O"], "spans": []}, "none"),
        ({"words": ["a", "b"], "tags": ["DET", "NOUN"]}, "a/DET b/NOUN"),
        ({"tokens": ["a"], "offsets": [[0, 1]], "tags": ["DET"]}, "a/DET"),
        ({"text": "译文"}, '{"text": "译文"}'),
        ("free", "free"),
    ],
)
def test_predictions(prediction, text):
    assert prediction_text(prediction) == text


@pytest.mark.parametrize(
    ("head", "value", "text"),
    [
        (Classification(2), 1, "1"),
        (Regression(mean=0.0, scale=1.0), 2.5, "2.5"),
        (MultiLabel(["a", "b"]), ["a", "b"], "a, b"),
        (MultiLabel(["a", "b"]), [], "none"),
        (Tagging(["O", "B-X", "I-X"]), ["B-X", "I-X", "O"], "X: New York"),
        (Tagging(["O", "B-X", "I-X"]), [(0, 8, "X")], "X: New York"),
        (Tagging(["A", "B"], scheme=None), ["A", "A", "B"], "New/A York/A b/B"),
    ],
)
def test_labels(head, value, text):
    assert gold_text(value, Example.from_words(["New", "York", "b"]), head) == text


def test_a_table_shows_its_cells_letter_by_letter():
    cells = ["a|b", "<b>x</b>", "*one* _two_ `three` $4$", "[a](http://b)", "&amp; ~~ # \\| ![i](j)", "北京"]
    table = markdown_table(["text", "n"], [[cell, "1"] for cell in cells])
    shown = pytest.importorskip("markdown").markdown(table, extensions=["tables"])
    found = [html.unescape(row.split("</td>")[0]) for row in shown.split("<tr>\n<td>")[1:]]
    assert found == cells
