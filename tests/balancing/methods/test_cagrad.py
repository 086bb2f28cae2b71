import numpy as np
import pytest
from scipy.optimize import minimize

from mtl.balancing import CAGrad

J = np.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])


@pytest.mark.parametrize(("rescale", "divisor"), [(0, 1.0), (1, 1.25), (2, 1.5)])
def test_golden(rescale, divisor):
    weights = CAGrad(0.5, rescale).weights(J @ J.T).numpy()
    np.testing.assert_allclose(weights * divisor, [0.70412, 0.5], atol=1e-5)


@pytest.mark.parametrize("tasks", [2, 3, 5])
@pytest.mark.parametrize("c", [0.2, 0.9])
def test_against_scipy(tasks, c):
    """The paper's dual problem, by a general solver."""
    rows = np.random.default_rng(tasks).normal(size=(tasks, 8))
    gramian, b = rows @ rows.T, np.full(tasks, 1 / tasks)
    radius = c * np.sqrt(b @ gramian @ b)
    constraint = {"type": "eq", "fun": lambda u: u.sum() - 1}
    u = minimize(
        lambda u: u @ gramian @ b + radius * np.sqrt(u @ gramian @ u),
        b,
        bounds=[(0, 1)] * tasks,
        constraints=constraint,
        tol=1e-15,
    ).x
    np.testing.assert_allclose(CAGrad(c).weights(gramian), b + radius * u / np.sqrt(u @ gramian @ u), atol=1e-4)


@pytest.mark.parametrize("tasks", [1, 2, 4, 16, 64])
@pytest.mark.parametrize("spread", [0, 8])
def test_as_far_from_the_mean_as_allowed_and_no_better_way(tasks, spread):
    """`||d - g_0|| = c ||g_0||`, and the gains are all alike where a task pulls, and larger elsewhere."""
    rng = np.random.default_rng(tasks)
    rows = rng.normal(size=(tasks, 2 * tasks)) * 10.0 ** rng.uniform(-spread, spread, size=(tasks, 1))
    weights = CAGrad(0.5).weights(rows @ rows.T).numpy()
    d, g0 = rows.T @ weights, rows.mean(0)
    assert np.linalg.norm(d - g0) == pytest.approx(0.5 * np.linalg.norm(g0), rel=1e-6)
    norms = np.linalg.norm(rows, axis=1)
    pulls = (weights - 1 / tasks) * norms / np.linalg.norm(g0)
    pulling = pulls > 1e-9
    slack = (rows @ d - np.median((rows @ d)[pulling])) / (norms * np.linalg.norm(d))
    assert pulls.min() > -1e-9 and slack.min() > -1e-9
    np.testing.assert_allclose(slack[pulling], 0.0, atol=1e-9)


def test_no_pull_is_the_mean():
    np.testing.assert_allclose(CAGrad(0.0).weights(J @ J.T), [0.5, 0.5])
    with pytest.raises(ValueError, match=r"CAGrad expects `c` in \[0, 1\); got 1"):
        CAGrad(1.0)
    with pytest.raises(ValueError, match="`rescale` 0, 1 or 2; got 3"):
        CAGrad(rescale=3)
