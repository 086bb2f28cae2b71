import numpy as np
import pytest

from mtl.training.gradients.conflicts import Conflicts


def test_means_over_the_steps_in_which_tasks_were_active():
    """Gradients (3, 0), (0, 4), (-6, 0), of which the third is missing in the first step; the updates are sums."""
    conflicts = Conflicts(["a", "b", "c"])
    first = np.array([[3.0, 0.0], [0.0, 4.0], [0.0, 0.0]])
    second = np.array([[3.0, 0.0], [0.0, 4.0], [-6.0, 0.0]])
    for rows, active in ((first, [True, True, False]), (second, [True, True, True])):
        update = rows.sum(axis=0)
        conflicts.accumulate(rows @ rows.T, rows @ update, update @ update, active)
    found = conflicts.read()
    np.testing.assert_allclose(found["norms"], [3.0, 4.0, 6.0])
    np.testing.assert_allclose(found["cosines"], [[1, 0, -1], [0, 1, 0], [-1, 0, 1]], atol=1e-7)
    # The updates are (3, 4) and (-3, 4).
    np.testing.assert_allclose(found["update"], [(0.6 - 0.6) / 2, 0.8, 0.6], atol=1e-7)
    assert found["conflicting"] == pytest.approx(1 / 4)  # Of one pair in the first step and three in the second.


def test_a_step_that_is_not_finite_is_left_out():
    conflicts = Conflicts(["a", "b"])
    conflicts.accumulate(np.eye(2), [1.0, 1.0], 2.0, [True, True])
    conflicts.accumulate(np.full((2, 2), np.nan), [np.nan, 1.0], np.inf, [True, True])
    conflicts.accumulate(4 * np.eye(2), [np.nan, 1.0], np.nan, [True, True])
    found = conflicts.read()
    assert found["norms"].tolist() == [1.0, 1.0] and found["conflicting"] == 0.0
    np.testing.assert_allclose(found["update"], 0.5**0.5)


def test_nothing_seen_is_no_number():
    conflicts = Conflicts(["a", "b"])
    assert all(np.isnan(value).all() for value in conflicts.read().values())
    conflicts.accumulate(np.eye(2), [1.0, 1.0], 2.0, [True, True])
    conflicts.reset_state()
    assert np.isnan(conflicts.read()["norms"]).all()
