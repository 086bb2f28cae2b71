import numpy as np

from mtl.balancing import RLW


def weights(balancer, steps, active=None):
    result = []
    for _ in range(steps):
        balancer.combine([1.0, 1.0, 1.0], active)
        result.append(list(balancer.current_weights().values()))
    return np.array(result)


def test_softmax_of_normal_draws():
    drawn = weights(RLW(seed=1), 400)
    np.testing.assert_allclose(drawn.sum(1), 1.0, rtol=1e-5)
    # log(w_i / w_j) is the difference of two standard normals: mean 0, variance 2, correlation 1/2 with log(w_i / w_k).
    logs = np.log(drawn[:, :2] / drawn[:, 2:])
    np.testing.assert_allclose(logs.mean(0), 0.0, atol=0.3)
    np.testing.assert_allclose(np.cov(logs.T), [[2.0, 1.0], [1.0, 2.0]], atol=0.5)
    assert (drawn[:5] == weights(RLW(seed=1), 5)).all() and (drawn[:5] != weights(RLW(seed=2), 5)).all()


def test_missing_tasks_and_evaluation():
    balancer = RLW()
    total = balancer.combine([2.0, 9.0, 2.0], [True, False, True])
    np.testing.assert_allclose(total, 2.0, rtol=1e-6)
    assert float(balancer.combine([3.0, 0.0, 0.0], training=False)) == 1.0
