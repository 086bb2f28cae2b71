"""Selection and masking of tokens for masked language modelling."""

from collections.abc import Sequence

import numpy as np

__all__ = ["choose_groups", "hide_tokens"]


def choose_groups(groups: np.ndarray, allowed: np.ndarray, rate: float, rng: np.random.Generator) -> np.ndarray:
    """Choose whole groups of tokens, such as words, at random until about `rate` of each row's tokens are chosen.

    Groups are visited in random order. A group is chosen if most of it lies within the row's number of tokens to choose, which
    is rounded at random; the first group is always chosen. So the rate is met on average, even in short rows.

    Args:
        groups: int `[B, S]`, index of each token's group in its row, from 0.
        allowed: bool `[B, S]`, the tokens that may be chosen.
        rate: share of the allowed tokens to choose.
        rng: random generator.

    Returns:
        bool `[B, S]`.

    Example:

    >>> groups = np.array([[0, 1, 1, 2]])
    >>> chosen = choose_groups(groups, groups < 2, 1.0, np.random.default_rng(0))
    >>> chosen.tolist()
    [[True, True, True, False]]
    """
    rows, width = len(groups), int(groups.max(initial=0)) + 1
    groups = np.where(allowed, groups, 0)
    row = np.arange(rows)[:, None]
    sizes = np.bincount((row * width + groups)[allowed], minlength=rows * width).reshape(rows, width)
    order = rng.random((rows, width)).argsort(axis=1)
    size = np.take_along_axis(sizes, order, axis=1)
    before = size.cumsum(axis=1) - size
    share = rate * size.sum(axis=1, keepdims=True) + rng.random((rows, 1)) - 0.5
    taken = np.zeros((rows, width), bool)
    np.put_along_axis(taken, order, (before == 0) | (before + size / 2 <= share), axis=1)
    return taken[row, groups] & allowed


def hide_tokens(
    token_ids: np.ndarray,
    chosen: np.ndarray,
    mask_id: int,
    replacements: Sequence[int] | np.ndarray,
    keep: float,
    random: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Replace chosen token ids: keep them (`keep`), change them at random (`random`), or else mask them.

    Args:
        token_ids: int `[B, S]`.
        chosen: bool `[B, S]`.
        mask_id: id of the mask token.
        replacements: ids to draw random tokens from.
        keep: share of the chosen tokens that stay unchanged.
        random: share of the chosen tokens that change to one of `replacements`.
        rng: random generator.

    Example:

    >>> hide_tokens(np.array([[5, 6, 7]]), np.array([[True, False, True]]), 1, [9], 0.0, 0.0, np.random.default_rng(0)).tolist()
    [[1, 6, 1]]
    """
    fate = rng.random(token_ids.shape)
    changed = np.asarray(replacements)[rng.integers(len(replacements), size=token_ids.shape)]
    hidden = np.where(fate < keep, token_ids, np.where(fate < keep + random, changed, mask_id))
    return np.where(chosen, hidden, token_ids).astype(token_ids.dtype)
