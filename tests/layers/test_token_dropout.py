import keras
import numpy as np
import pytest

from mtl.layers import TokenDropout

IDS = np.random.default_rng(0).integers(2, 50, (40, 50)) * (np.arange(50) < 40)


def test_tokens_become_unknown_at_the_rate_and_padding_stays():
    out = TokenDropout(0.3, unknown_id=1)(IDS, training=True).numpy()
    changed = out != IDS
    assert (out[changed] == 1).all() and (IDS[changed] != 0).all()
    assert changed.sum() / (IDS != 0).sum() == pytest.approx(0.3, abs=4 * (0.21 / 1600) ** 0.5)


def test_it_draws_anew_and_only_in_training():
    layer = TokenDropout(0.3)
    assert (layer(IDS, training=True).numpy() != layer(IDS, training=True).numpy()).any()
    np.testing.assert_array_equal(layer(IDS), IDS)
    np.testing.assert_array_equal(TokenDropout(0.0)(IDS, training=True), IDS)


def test_configuration_and_errors():
    copy = TokenDropout.from_config(TokenDropout(0.2, 3, 4, 5).get_config())
    assert (copy.rate, copy.unknown_id, copy.pad_id, copy.seed) == (0.2, 3, 4, 5)
    with pytest.raises(ValueError, match="a rate from 0 to below 1; got 1"):
        TokenDropout(1)
    assert TokenDropout(0.5)(keras.Input((None,), dtype="int32")).dtype == "int32"
