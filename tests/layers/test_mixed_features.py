import numpy as np

from mtl.layers import MixedFeatures


def test_the_mix_takes_the_place_of_the_last_state_and_padding_is_not_pooled():
    states = [np.array([[[1.0], [2.0], [9.0]]], "float32"), np.array([[[3.0], [6.0], [9.0]]], "float32")]
    mask = np.array([[1, 1, 0]], "int32")
    features = MixedFeatures("max")({"states": states, "padding_mask": mask, "sequence": states[1], "pooled": states[1][:, 0]})
    assert sorted(features) == ["padding_mask", "pooled", "sequence"]
    assert features["sequence"].numpy().tolist() == [[[2.0], [4.0], [9.0]]]
    assert features["pooled"].numpy().tolist() == [[4.0]]
