import numpy as np
import pytest
import tensorflow as tf

from mtl.utils.texts import refuse_texts

IDS, NAMES = np.ones((2, 3), "int32"), np.array(["up", "down"])


@pytest.mark.parametrize(
    "x", ["a", ["a"], NAMES, tf.constant(["a"]), {"token_ids": NAMES}, tf.data.Dataset.from_tensor_slices(["a"])]
)
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


def test_numbers_pass():
    refuse_texts(IDS, {"mood": np.zeros(2)})
    refuse_texts({"token_ids": tf.constant(IDS)})
    refuse_texts(tf.data.Dataset.from_tensor_slices((IDS, {"mood": [0, 1]})))
    refuse_texts(None)
