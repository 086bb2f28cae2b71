import numpy as np
import pytest

from mtl.balancing import IMTL, IMTLL

J = np.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])


def test_both_halves():
    balancer = IMTL()
    balancer.bind(["a", "b"])
    np.testing.assert_allclose(balancer.weights(J @ J.T), [0.59233, 0.40767], atol=1e-5)
    balancer.task_variables("b")[0].assign(np.log(2.0))
    np.testing.assert_allclose(balancer.combine([3.0, 5.0]), 3.0 + 10.0 - np.log(2.0), rtol=1e-6)
    # The gradient of the second loss, scaled, is twice as long.
    scaled = J * [[1.0], [2.0]]
    v = np.linalg.inv(scaled @ scaled.T) @ np.linalg.norm(scaled, axis=1)
    np.testing.assert_allclose(balancer.aggregate(J), scaled.T @ v / v.sum(), rtol=1e-6)
    assert len(balancer.state.trainable_variables) == 2


def test_the_floor_is_that_of_its_scales():
    balancer = IMTL.from_config(IMTL(floor=0.25).get_config())
    balancer.bind(["a", "b"])
    balancer.task_variables("a")[0].assign(9.0)
    np.testing.assert_allclose(balancer._scaling.factors("float32"), [4.0, 1.0], rtol=1e-6)
    assert IMTL().floor == IMTLL().floor
    with pytest.raises(ValueError, match="IMTL expects `floor` in"):
        IMTL(floor=-1.0)
