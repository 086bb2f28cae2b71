import numpy as np

from mtl import Task
from mtl.data import Tokenizer, mix, records
from mtl.data.annotation import words_of
from mtl.data.columns import Column, Target
from mtl.heads.head import Head
from tests.tiny import Bag


class Pairs(Head):
    """One number for each pair of words, and a column of the words' lengths."""

    target = Target(("words", "words"), "float32")

    @property
    def columns(self):
        return (Column("letters", ("words",), values=lambda example, _: [b - a for a, b in words_of(example)], filler=-1),)

    def encode(self, value, example, encoding):
        return np.array(value, "float32"), 2.0

    def lost(self, value, example, encoding, target):
        return 0

    def get_config(self):
        return {"name": self.name}


def test_axes_of_words_and_of_pairs_of_words():
    rows = [
        {"text": ["so", "a", "bcd"], "near": [[0, 1, 2], [3, 4, 5], [6, 7, 8]]},
        {"text": ["abcd"], "near": [[9]]},
        {"text": ["b", "ab"], "near": None, "mood": 1},
    ]
    source = records(rows, label=["near", "mood"], fractions=None)
    encoder = Bag(30, tokenizer=Tokenizer.learn("character", ["abcdso"]))
    task = Task("near", Pairs(), source)
    data = mix([task], encoder, batch_size=3, shuffle=False, buckets=1, cache_dir=None)
    ((x, y, weight),) = data.as_numpy_iterator()
    order = np.argsort([row.tolist().index(-1) if -1 in row else 3 for row in x["letters"]])
    assert [x["letters"][i].tolist() for i in order] == [[4, -1, -1], [2, 1, 3]]
    assert y["near"][order[0]].tolist() == [[9, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert y["near"][order[1]].tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert weight["near"][order[0]].tolist() == [[2, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert data.element_spec[1]["near"].shape.as_list() == [None, 3, 3]
