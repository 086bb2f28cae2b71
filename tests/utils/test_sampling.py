import pytest

from mtl.utils.sampling import sample


def test_a_sample_is_one_pass_in_order_and_always_the_same():
    items = list(range(1000))
    drawn = sample(iter(items), 50)
    assert drawn == sorted(drawn) and len(set(drawn)) == 50 and drawn == sample(iter(items), 50)
    assert sample(items, 50, seed=1) != drawn
    assert sample(items, None) == items == sample(items, 2000)


def test_every_item_is_as_likely():
    hits = sum(3 in sample(range(10), 4, seed=s) for s in range(2000))
    assert hits == pytest.approx(800, abs=4 * (2000 * 0.4 * 0.6) ** 0.5)
