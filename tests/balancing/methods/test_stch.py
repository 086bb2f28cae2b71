import numpy as np
import pytest

from mtl.balancing import STCH


def test_the_formula():
    balancer = STCH(mu=0.3, preferences={"a": 3.0}, ideals={"b": 0.5})
    balancer.bind(["a", "b"])
    terms = np.array([0.75 * 1.0, 0.25 * (2.0 - 0.5)]) / 0.3
    np.testing.assert_allclose(balancer.combine([1.0, 2.0]), 0.3 * np.log(np.exp(terms).sum()), rtol=1e-6)
    np.testing.assert_allclose(balancer.combine([1.0, 2.0], [False, True]), 1.5, rtol=1e-6)


def test_the_nadir_is_the_mean_loss_of_the_warm_up():
    balancer = STCH(warmup_steps=2)
    np.testing.assert_allclose(balancer.combine([1.0, 2.0]), np.log(2.0), rtol=1e-6)
    np.testing.assert_allclose(balancer.combine([3.0, 6.0]), np.log(18.0), rtol=1e-6)
    expected = np.log(np.exp(np.array([0.5 * 1.0 / 2.0, 0.5 * 2.0 / 4.0])).sum())
    for _ in range(2):
        np.testing.assert_allclose(balancer.combine([1.0, 2.0]), expected, rtol=1e-6)


def test_settings():
    with pytest.raises(ValueError, match=r"STCH expects `mu` in \(0, inf\); got 0"):
        STCH(mu=0)
    with pytest.raises(ValueError, match=r"`preferences\['a'\]` in \(0, inf\); got -1"):
        STCH(preferences={"a": -1})
