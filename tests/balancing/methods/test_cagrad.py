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


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shorter", [0.5, 0.9, 0.99, 0.999, 0.9999, 1.0])
def test_two_opposite_gradients(dtype, shorter):
    """By hand: the mean is (1 - a) / 2 along the first, and half of it is left; no more is added however short it is."""
    rows = np.array([[1.0, 0.0], [-shorter, 0.0]], dtype)
    found = CAGrad(0.5).aggregate(rows).numpy()
    mean = float(rows[:, 0].mean(dtype="float64"))
    if dtype == "float32" and shorter > 0.999:  # The mean's length cannot be told from 0.
        assert found[0] == pytest.approx(mean, rel=1e-3, abs=1e-7)
    else:
        np.testing.assert_allclose(found, [mean / 2, 0.0], rtol=2e-2 if dtype == "float32" else 1e-6, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["mean 0", "plane", "two opposite"])
@pytest.mark.parametrize("distance", [0.0, 1e-6, 1e-2])
def test_near_stationary_points(dtype, kind, distance):
    """Within the ball, and no task's least gain is less than what a general solver finds for the paper's problem."""
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 6))
    rows = np.array({"mean 0": [a, b, -a - b], "plane": [a, b, -0.4 * a - 0.9 * b], "two opposite": [a, -a, b]}[kind])
    rows = (rows + distance * rng.normal(size=rows.shape)).astype(dtype)
    found, exact = CAGrad(0.5).aggregate(rows).numpy().astype("float64"), rows.astype("float64")
    g0, size = exact.mean(0), np.linalg.norm(exact, axis=1).max()
    radius = 0.5 * np.linalg.norm(g0)
    assert np.linalg.norm(found - g0) <= radius * 1.001 + 3e-7 * size
    ball = {"type": "ineq", "fun": lambda v: radius**2 - ((v[:-1] - g0) ** 2).sum()}
    gains = {"type": "ineq", "fun": lambda v: exact @ v[:-1] - v[-1]}
    best = minimize(lambda v: -v[-1], [*g0, (exact @ g0).min()], constraints=[ball, gains], method="SLSQP", tol=1e-12).x[-1]
    slack = {"float32": 1e-3 * radius + 1e-5, "float64": 1e-5}[dtype] * size
    assert (exact @ found).min() >= best - slack


def test_no_pull_is_the_mean():
    np.testing.assert_allclose(CAGrad(0.0).weights(J @ J.T), [0.5, 0.5])
    with pytest.raises(ValueError, match=r"CAGrad expects `c` in \[0, 1\); got 1"):
        CAGrad(1.0)
    with pytest.raises(ValueError, match="`rescale` 0, 1 or 2; got 3"):
        CAGrad(rescale=3)
