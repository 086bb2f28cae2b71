import numpy as np
import pytest

from mtl.metrics import Perplexity


def test_perplexity_is_that_of_all_tokens():
    metric = Perplexity()
    metric.update_state(None, {"loss": np.log([[2.0, 4.0, 99.0]])}, np.array([[1.0, 1.0, 0.0]]), {})
    metric.update_state(None, {"loss": np.log([[8.0]])}, np.array([[2.0]]), {})
    assert float(metric.result()) == pytest.approx((2 * 4 * 8 * 8) ** 0.25)


def test_edges():
    metric = Perplexity()
    assert np.isnan(float(metric.result()))
    metric.update_state(None, {"loss": np.array([[1e6]])}, np.ones((1, 1)), {})
    assert np.isfinite(float(metric.result()))
