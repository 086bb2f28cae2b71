import numpy as np
import pytest

from mtl.balancing import DTP


def test_focal_weights_of_averaged_metrics():
    balancer = DTP(gamma=1.5, alpha=0.25)
    assert float(balancer.combine([1.0, 1.0])) == 2.0
    balancer.observe([0.8, 0.2])
    balancer.observe([0.4, 0.9], [True, False])
    balancer.observe([0.7, float("nan")])
    k = 0.25 * 0.7 + 0.75 * (0.25 * 0.4 + 0.75 * 0.8)
    expected = [-((1 - p) ** 1.5) * np.log(p) for p in (k, 0.2)]
    np.testing.assert_allclose(balancer.combine([1.0, 10.0]), expected[0] + 10 * expected[1], rtol=1e-5)
    np.testing.assert_allclose(list(balancer.current_weights().values()), expected, rtol=1e-5)


def test_extremes():
    balancer = DTP()
    balancer.observe([0.0, 1.0])
    np.testing.assert_allclose(balancer.combine([1.0, 1.0]), -((1 - 1e-4) ** 2) * np.log(1e-4), rtol=1e-5)
    with pytest.raises(ValueError, match=r"`alpha` in \(0, 1\]; got 0"):
        DTP(alpha=0)
