import numpy as np
import pytest

from mtl.layers import ScalarMix


def test_the_mix_is_a_softmax_of_the_scores_times_gamma():
    states = [np.full([2, 3, 4], value, "float32") for value in (1.0, 2.0, 6.0)]
    mix = ScalarMix()
    np.testing.assert_allclose(mix(states), np.full([2, 3, 4], 3.0), rtol=1e-6)
    mix.scores.assign(np.log([1.0, 2.0, 5.0]).astype("float32"))
    mix.gamma.assign(0.5)
    np.testing.assert_allclose(mix(states), np.full([2, 3, 4], 0.5 * (1 + 4 + 30) / 8), rtol=1e-6)


def test_one_state_is_nothing_to_mix():
    with pytest.raises(ValueError, match="at least 2 states as wide as the encoder's features; got 1"):
        ScalarMix()([np.ones([1, 2, 3], "float32")])
