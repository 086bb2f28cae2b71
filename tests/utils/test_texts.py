import keras
import numpy as np
import pandas  # type: ignore[import-untyped]
import pytest
import tensorflow as tf

from mtl.data import Example, records
from mtl.utils.texts import refuse_texts


class Batches(keras.utils.PyDataset):
    def __init__(self, batch):
        super().__init__()
        self.batch = batch

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return self.batch


TABLE = pandas.DataFrame({"text": ["a", "b"], "label": [0, 1]})
IDS, NAMES = np.ones((2, 3), "int32"), np.array(["up", "down"])


@pytest.mark.parametrize(
    "x",
    [
        "a", ["a"], NAMES, tf.constant(["a"]), {"token_ids": NAMES}, tf.data.Dataset.from_tensor_slices(["a"]),
        TABLE, TABLE["text"], {"token_ids": TABLE["text"]}, Batches((NAMES,)),
    ],
)  # fmt: skip
def test_texts_as_inputs(x):
    with pytest.raises(
        TypeError, match="expects token ids as inputs; got texts. Use predict_text to predict on texts, and mtl.data"
    ):
        refuse_texts(x)


@pytest.mark.parametrize("names", [NAMES, ["up", "down"], NAMES.astype(bytes), NAMES.astype(object)])
def test_texts_as_targets(names):
    with pytest.raises(TypeError, match="expects numbers as targets; got texts. Use mtl.data.mix to make"):
        refuse_texts({"token_ids": IDS}, {"mood": names})
    with pytest.raises(TypeError, match="expects numbers as targets"):
        refuse_texts(tf.data.Dataset.from_tensor_slices((IDS, {"mood": names})))


@pytest.mark.parametrize("x", [Example("a"), [Example("a")], records({"train": [{"text": "a"}]}), object()])
def test_what_holds_no_numbers(x):
    name = type(x[0] if isinstance(x, list) else x).__name__
    with pytest.raises(TypeError, match=f"expects token ids as inputs; got {name}. Use predict_text .*mtl.data.mix"):
        refuse_texts(x)
    with pytest.raises(TypeError, match=f"expects numbers as targets; got {name}. Use mtl.data.mix"):
        refuse_texts(IDS, {"mood": x})


def test_numbers_pass():
    refuse_texts(TABLE["label"], {"mood": TABLE[["label"]], "score": 1.5})
    refuse_texts(Batches((IDS, {"mood": np.zeros(2)})))
    refuse_texts(iter([NAMES]))
    refuse_texts(IDS, {"mood": np.zeros(2)})
    refuse_texts({"token_ids": tf.constant(IDS)})
    refuse_texts(tf.data.Dataset.from_tensor_slices((IDS, {"mood": [0, 1]})))
    refuse_texts(None)
