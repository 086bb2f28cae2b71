import numpy as np
import pytest

from mtl.callbacks.confusion_image import condense, confusion_image, tag_confusion
from mtl.data.example import Example
from mtl.heads import Tagging


def test_rare_labels_are_put_together():
    matrix = np.array([[9.0, 1, 0, 0], [2, 0, 0, 0], [0, 0, 0, 1], [0, 3, 0, 5]])
    small, labels = condense(matrix, ["a", "b", "c", "d"], most=3)
    assert labels == ["a", "d", "(other)"]
    assert small.tolist() == [[9, 0, 1], [0, 5, 3], [2, 1, 0]]
    same, labels = condense(matrix, ["a", "b", "c", "d"], most=4)
    assert same is matrix and labels == ["a", "b", "c", "d"]


def test_confusion_of_types_by_hand():
    head = Tagging(["O", "B-LOC", "I-LOC", "B-PER", "I-PER"])
    examples = [Example.from_words(["New", "York", "is"]), Example.from_words(["Ann"])]
    gold = [["B-LOC", "I-LOC", "O"], ["B-PER"]]
    predicted = [{"tags": ["B-PER", "I-LOC", "O"]}, {"tags": ["O"]}]
    matrix, labels = tag_confusion(head, gold, predicted, examples)
    assert labels == ["LOC", "O", "PER"]
    assert matrix.tolist() == [[1, 0, 1], [0, 1, 0], [0, 1, 0]]


def test_confusion_of_plain_tags_of_tokens():
    head = Tagging(["A-x", "B"], scheme=None, level="token")
    found = {"tags": ["A-x", "B", "B"], "offsets": [[0, 1], [1, 2], [3, 4]]}
    matrix, labels = tag_confusion(head, [["A-x", "A-x"]], [found], [Example.from_words(["ab", "c"])])
    assert labels == ["A-x", "B"]
    assert matrix.tolist() == [[1, 2], [0, 0]]


@pytest.mark.parametrize("labels", [["good", "$x_1$"], ["好", "差"], ["", "a\nb"], ["x" * 99, "\N{GRINNING FACE}"]])
def test_a_picture_of_any_labels(labels):
    dark = confusion_image(np.array([[8.0, 0.0], [0.0, 2.0]]), labels)
    assert dark.dtype == np.uint8 and dark.ndim == 3 and dark.shape[2] == 3
    light = confusion_image(np.zeros((2, 2)), labels)
    assert light.shape == dark.shape and light.sum() > dark.sum()
