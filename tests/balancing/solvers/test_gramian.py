import numpy as np
import pytest
import tensorflow as tf

from mtl.balancing.solvers.gramian import Gramian, definite, gramian_of

J = np.array([[3.0, 4.0, 0.0], [0.0, 0.0, 0.0], [0.0, 2.0, 0.0], [1.0, 1.0, 1.0]])


def gramian(active=(True, True, True, False)):
    return Gramian.of(gramian_of(tf.constant(J)), tf.constant(active))


def test_norms_and_cosines():
    problem, finite = gramian()
    assert bool(finite)
    np.testing.assert_allclose(problem.norms, [5.0, 0.0, 2.0, 0.0])
    np.testing.assert_allclose(problem.inverse_norms, [0.2, 0.0, 0.5, 0.0])
    expected = np.eye(4)
    expected[0, 2] = expected[2, 0] = 0.8
    np.testing.assert_allclose(problem.cosines, expected)
    np.testing.assert_allclose(problem.share, [1 / 3, 1 / 3, 1 / 3, 0.0])
    assert float(problem.size) == 25.0
    assert float(gramian((False, True, False, False))[0].size) == 1.0


def test_scaled_and_regularised():
    problem, _ = gramian()
    np.testing.assert_allclose(problem.scaled(tf.constant([2.0, 1.0, 1.0, 1.0], tf.float64)).norms, [10.0, 0.0, 2.0, 0.0])
    np.testing.assert_allclose(np.diag(problem.regularised(0.1).matrix), [25 + 2.9, 2.9, 4 + 2.9, 0.0])


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_not_finite(wrong):
    matrix = np.eye(3)
    matrix[0, 1] = wrong
    assert not bool(Gramian.of(tf.constant(matrix), tf.fill([3], True))[1])
    assert bool(Gramian.of(tf.constant(matrix), tf.constant([True, False, True]))[1])


def test_definite_raises_small_eigenvalues_only():
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    matrix = basis @ np.diag([4.0, 1.0, -1e-9]) @ basis.T
    expected = basis @ np.diag([4.0, 1.0, 4e-6]) @ basis.T
    np.testing.assert_allclose(definite(tf.constant(matrix), 1e-6), expected, atol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_spectrum_has_0_for_what_is_rounding(dtype):
    units = np.random.default_rng(0).normal(size=(4, 2)) @ np.random.default_rng(1).normal(size=(2, 9))
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    jacobian = tf.constant(units * [[1e-3], [1.0], [1e3], [1e6]], dtype)
    values, vectors = Gramian.of(gramian_of(jacobian), tf.fill([4], True))[0].spectrum
    np.testing.assert_allclose(values, np.linalg.eigvalsh(units @ units.T), atol=1e-6)
    assert values.numpy()[:2].tolist() == [0.0, 0.0] and values.numpy()[2] > 0.1
    np.testing.assert_allclose(tf.matmul(vectors * values, vectors, transpose_b=True), units @ units.T, atol=1e-6)
