import numpy as np
import pytest

from mtl.balancing import DWA


def weights(balancer, active=(True, True, True)):
    """Each task's weight, from losses that show one at a time."""
    return [float(balancer.combine(row, active, training=False)) for row in np.eye(3)]


def test_epoch_means():
    balancer = DWA(temperature=0.5)
    for losses in ([4.0, 2.0, 1.0], [2.0, 2.0, 3.0]):  # Means 3, 2, 2
        balancer.combine(losses)
    assert weights(balancer) == [1.0, 1.0, 1.0]
    balancer.after_epoch()
    balancer.combine([1.5, 2.0, 0.0], [True, True, False])
    balancer.combine([1.5, 2.0, 1.0])  # Means 1.5, 2, 1
    assert weights(balancer) == [1.0, 1.0, 1.0]
    balancer.after_epoch()
    powers = np.exp(np.array([0.5, 1.0, 0.5]) / 0.5)
    np.testing.assert_allclose(weights(balancer), 3 * powers / powers.sum(), rtol=1e-5)
    two = powers * [1, 1, 0]
    np.testing.assert_allclose(weights(balancer, [True, True, False]), 2 * two / two.sum(), rtol=1e-5, atol=1e-7)
    balancer.after_epoch()  # No step, so nothing is new.
    np.testing.assert_allclose(weights(balancer), 3 * powers / powers.sum(), rtol=1e-5)


def test_settings():
    with pytest.raises(ValueError, match=r"DWA expects `temperature` in \(0, inf\); got 0"):
        DWA(0.0)
    DWA().after_epoch()
