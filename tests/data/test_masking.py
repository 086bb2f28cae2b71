import numpy as np
import pytest

from mtl.data.masking import choose_groups, hide_tokens


def rows(count, length, largest, seed=0):
    """Rows whose tokens form runs of 1 to `largest`, and which tokens are allowed: padding and the edges are not."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, largest + 1, (count, length))
    groups = (np.arange(length)[None, :, None] >= sizes.cumsum(1)[:, None]).sum(-1)
    lengths = rng.integers(3, length + 1, count)
    position = np.arange(length)
    return groups, (position > 0) & (position < lengths[:, None] - 1)


def test_whole_groups_and_only_allowed_tokens():
    groups, allowed = rows(300, 20, 4)
    chosen = choose_groups(groups, allowed, 0.3, np.random.default_rng(1))
    assert not (chosen & ~allowed).any()
    for group, may, took in zip(groups, allowed, chosen, strict=True):
        for number in set(group[may]):
            assert len(set(took[may & (group == number)])) == 1
    assert (chosen.any(axis=1) == allowed.any(axis=1)).all()


@pytest.mark.parametrize(("length", "largest", "rate"), [(12, 1, 0.15), (40, 1, 0.5), (40, 3, 0.15), (64, 4, 0.3)])
def test_rate(length, largest, rate):
    groups, _ = rows(4000, length, largest)
    allowed = np.ones_like(groups, bool)
    share = choose_groups(groups, allowed, rate, np.random.default_rng(2)).mean(axis=1)
    assert share.mean() == pytest.approx(rate, abs=0.006)
    assert (abs(share * length - rate * length) <= largest / 2 + 1).all()


def test_single_tokens_are_chosen_evenly():
    groups = np.tile(np.arange(10), (20000, 1))
    chosen = choose_groups(groups, np.ones_like(groups, bool), 0.2, np.random.default_rng(3))
    np.testing.assert_allclose(chosen.mean(axis=0), 0.2, atol=0.012)
    assert set(chosen.sum(axis=1)) == {2}


def test_rows_without_tokens_and_without_rows():
    groups = np.array([[0, 0, 1], [0, 1, 2]])
    allowed = np.array([[False] * 3, [True] * 3])
    assert choose_groups(groups, allowed, 0.1, np.random.default_rng(0)).sum(axis=1).tolist() == [0, 1]
    assert choose_groups(groups[:0], allowed[:0], 0.1, np.random.default_rng(0)).shape == (0, 3)


def test_chance_is_the_generators():
    groups, allowed = rows(50, 20, 3)
    first, again, other = (choose_groups(groups, allowed, 0.2, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert (first == again).all()
    assert (first != other).any()


def test_shares_of_what_hides_a_token():
    ids = np.full((500, 200), 50)
    chosen = np.random.default_rng(0).random(ids.shape) < 0.5
    hidden = hide_tokens(ids, chosen, 4, np.arange(100, 200), 0.1, 0.3, np.random.default_rng(1))
    assert (hidden[~chosen] == 50).all()
    found = hidden[chosen]
    assert (found == 4).mean() == pytest.approx(0.6, abs=0.01)
    assert (found == 50).mean() == pytest.approx(0.1, abs=0.01)
    changed = found[(found != 4) & (found != 50)]
    assert len(changed) / len(found) == pytest.approx(0.3, abs=0.01)
    assert set(changed) == set(range(100, 200))
    assert hidden.dtype == ids.dtype
