import numpy as np
import pytest

from mtl.balancing.grouping import group_tasks


def test_tasks_that_help_one_another_are_grouped():
    """0 and 2 gain 0.5 together, 1 and 3 gain 0.2; 0 and 1 lose."""
    affinities = np.zeros((4, 4))
    affinities[0, 2], affinities[2, 0] = 0.3, 0.2
    affinities[1, 3] = 0.2
    affinities[0, 1] = -0.6
    assert group_tasks(affinities) == [[0, 2], [1, 3]]
    assert group_tasks(affinities, 1) == [[0, 1, 2, 3]]


def test_tasks_that_only_harm_stay_alone_unless_groups_are_few():
    harm = -np.ones((3, 3))
    harm[1, 2] = harm[2, 1] = -0.1
    assert group_tasks(harm) == [[0], [1], [2]]
    assert group_tasks(harm, 2) == [[0], [1, 2]]


def test_what_was_never_seen_counts_nothing():
    assert group_tasks(np.array([[0.0, np.nan], [0.1, np.nan]])) == [[0, 1]]
    assert group_tasks(np.array([[5.0, np.nan], [-0.1, 5.0]])) == [[0], [1]]


def test_of_many_tasks_the_best_pairs_are_joined():
    """13 tasks in blocks of three that help one another, and one that harms all."""
    affinities = np.full((13, 13), -0.1)
    for block in range(4):
        affinities[3 * block : 3 * block + 3, 3 * block : 3 * block + 3] = 1.0
    assert group_tasks(affinities) == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11], [12]]
    assert len(group_tasks(affinities, 2)) == 2
    assert len(group_tasks(np.zeros((13, 13)))) == len(group_tasks(np.zeros((4, 4)))) + 9


def test_no_group_is_too_few():
    with pytest.raises(ValueError, match="Expected at least 1 group; got 0"):
        group_tasks(np.zeros((2, 2)), 0)
