import itertools

import numpy as np
import pytest

from mtl.data.mixture.buckets import choose_buckets


def padded(lengths, buckets):
    return sum(next(b for b in buckets if b >= n) for n in lengths)


def least_padding(lengths, number):
    values = sorted(set(lengths))
    choices = (c for r in range(1, number + 1) for c in itertools.combinations(values, r) if c[-1] == values[-1])
    return min(padded(lengths, c) for c in choices)


@pytest.mark.parametrize("seed", range(40))
def test_no_choice_of_buckets_leaves_less_padding(seed):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 30, rng.integers(1, 12)).tolist()
    number = int(rng.integers(1, 5))
    buckets = choose_buckets(np.array(lengths), number)
    assert len(buckets) <= number and buckets == sorted(set(buckets))
    assert padded(lengths, buckets) == least_padding(lengths, number)


def test_many_lengths_are_all_covered():
    lengths = np.arange(1, 5001)
    buckets = choose_buckets(lengths, 8)
    assert len(buckets) == 8 and buckets[-1] == 5000
    # Evenly spread lengths: the best eight are evenly spread too, and pad by half a bucket on average.
    assert padded(lengths, buckets) == pytest.approx(5000 * 2500 + 5000 * 5000 / 16, rel=0.01)


def test_no_example_and_empty_texts():
    assert choose_buckets(np.zeros(0, int), 4) == [1]
    assert choose_buckets(np.array([0, 0]), 4) == [1]
