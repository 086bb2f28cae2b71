import numpy as np

from mtl.balancing import DBMTL


def test_against_numpy():
    rng, beta, average = np.random.default_rng(0), 0.7, np.zeros((3, 5))
    balancer = DBMTL(beta)
    for _ in range(4):
        rows, losses = rng.normal(size=(3, 5)), rng.uniform(0.5, 2.0, size=3)
        average = beta * average + (1 - beta) * rows / losses[:, None]
        norms = np.linalg.norm(average, axis=1)
        expected = sum(norms.max() / n * y for n, y in zip(norms, average, strict=True))
        np.testing.assert_allclose(balancer.aggregate(rows, losses=losses), expected, rtol=1e-5)


def test_a_missing_task_keeps_its_average():
    balancer = DBMTL(0.5)
    rows = np.eye(2)
    balancer.aggregate(rows, losses=[1.0, 1.0])
    np.testing.assert_allclose(balancer.aggregate(rows, [True, False], [1.0, 1.0]), [0.75, 0.0], rtol=1e-6)
    np.testing.assert_allclose(balancer.aggregate(rows, losses=[1.0, 1.0]), [0.875, 0.875], rtol=1e-6)
    assert list(balancer.current_weights().values())[1] * 0.75 == np.float32(0.875)
