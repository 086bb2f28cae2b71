import numpy as np
import pytest
from scipy.optimize import fsolve

from mtl.balancing import FairGrad

J = np.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])


def test_golden():
    np.testing.assert_allclose(FairGrad().weights(J @ J.T), [0.59146, 0.40707], atol=1e-5)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_against_scipy(alpha):
    rows = np.random.default_rng(1).normal(size=(3, 8))
    gramian = rows @ rows.T
    logs = fsolve(lambda s: gramian @ np.exp(s) * np.exp(s / alpha) - 1, -np.log(np.diag(gramian)) / 2, xtol=1e-12)
    np.testing.assert_allclose(FairGrad(alpha).weights(gramian), np.exp(logs), rtol=1e-6)


def test_settings():
    with pytest.raises(ValueError, match=r"FairGrad expects `alpha` in \(0, inf\); got 0"):
        FairGrad(0)
