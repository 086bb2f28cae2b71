"""Linear-chain conditional random field, as pure functions.

Positions of a row where `mask` is 0 are left out, at the end or between others: the tag after a gap follows the tag before it.
"""

from typing import Any

from keras import ops

from mtl.utils.sequences import front_order

__all__ = ["crf_log_likelihood", "crf_marginals", "crf_viterbi"]

_TINY = 1e-37


def crf_log_likelihood(emissions: Any, tags: Any, mask: Any, transitions: Any, start: Any, end: Any) -> Any:
    """Return the log-probability of each row's tags.

    `log p(y | e) = start[y_1] + sum_t e_t[y_t] + sum_t T[y_t-1, y_t] + end[y_n] - log Z`.

    `log Z` comes from a forward pass of scaled probabilities (one matrix product per step), and its gradient, the
    marginals, from a backward pass that runs in the same loop. Tags with scores more than about 80 below the best count as
    impossible.

    Args:
        emissions: `[B, S, C]`.
        tags: int32 `[B, S]`; any value where `mask` is 0.
        mask: `[B, S]`, 1 at the positions that count.
        transitions: `[C, C]`, from row to column.
        start: `[C]`, scores of a row's first tag.
        end: `[C]`, scores of a row's last tag.

    Returns:
        float32 `[B]`; 0 for a row without positions.

    Example:

    >>> import numpy as np
    >>> zero = np.zeros([2], "float32")
    >>> scores, tags = np.zeros([1, 3, 2], "float32"), np.array([[0, 1, 0]])
    >>> p = crf_log_likelihood(scores, tags, np.ones([1, 3]), np.zeros([2, 2]), zero, zero)
    >>> round(float(np.exp(p[0])), 4)
    0.125

    Reference:
        Lafferty, McCallum and Pereira, "Conditional Random Fields", ICML 2001; over a neural encoder: Huang, Xu and Yu,
        "Bidirectional LSTM-CRF Models for Sequence Tagging", 2015; Lample et al., NAACL 2016.
    """
    emissions, transitions, start, end = (ops.cast(x, "float32") for x in (emissions, transitions, start, end))
    mask = ops.cast(mask, "bool")
    kinds = transitions.shape[-1]
    tags = ops.where(mask, ops.cast(tags, "int32"), 0)
    first, last = _ends(mask)
    marks = ops.one_hot(tags, kinds, dtype="float32")
    score = ops.sum(marks * (emissions + _on(first) * start + _on(last) * end) * _on(mask), axis=(1, 2))
    # Pairs of consecutive tags, gaps left out.
    order = front_order(mask)
    closed = ops.take_along_axis(tags, order, axis=1)
    paired = ops.cast(ops.take_along_axis(mask, order, axis=1)[:, 1:], "float32")
    steps = ops.take(ops.reshape(transitions, (-1,)), closed[:, :-1] * kinds + closed[:, 1:])
    return score + ops.sum(steps * paired, axis=1) - _log_partition(emissions, mask, transitions, start, end)


def crf_marginals(emissions: Any, mask: Any, transitions: Any, start: Any, end: Any) -> Any:
    """Return the probability of each tag at each position, not differentiable.

    Args:
        emissions, mask, transitions, start, end: as for `crf_log_likelihood`.

    Returns:
        float32 `[B, S, C]`; zeros where `mask` is 0.

    Example:

    >>> import numpy as np
    >>> zero, start = np.zeros([2], "float32"), np.log([3.0, 1.0])
    >>> p = crf_marginals(np.zeros([1, 2, 2]), np.ones([1, 2]), np.zeros([2, 2]), start, zero)
    >>> np.round(p[0], 4).tolist()
    [[0.75, 0.25], [0.5, 0.5]]
    """
    emissions, transitions, start, end = (ops.cast(x, "float32") for x in (emissions, transitions, start, end))
    return _forward_backward(emissions, ops.cast(mask, "bool"), transitions, start, end)[1]


def crf_viterbi(emissions: Any, mask: Any, transitions: Any, start: Any, end: Any) -> Any:
    """Return the most probable tags of each row, int32 `[B, S]`; 0 where `mask` is 0.

    Arguments as for `crf_log_likelihood`. With `transitions`, `start` and `end` of 0 where allowed and -1e4 where not, the
    result is the best allowed sequence under independent scores.

    Example:

    >>> import numpy as np
    >>> zero = np.zeros([2], "float32")
    >>> never_same = np.array([[-1e4, 0], [0, -1e4]], "float32")
    >>> scores = np.array([[[5, 0], [1, 0], [2, 0]]], "float32")
    >>> np.asarray(crf_viterbi(scores, np.ones([1, 3]), never_same, zero, zero)).tolist()
    [[0, 1, 0]]
    """
    emissions, transitions, start, end = (ops.cast(x, "float32") for x in (emissions, transitions, start, end))
    mask = ops.cast(mask, "bool")
    into = ops.transpose(transitions)  # [after, before]
    rows = (ops.transpose(emissions, (1, 0, 2)), ops.transpose(_ends(mask)[0])[..., None], ops.transpose(mask)[..., None])

    def forward(best: Any, step: Any) -> Any:
        scores, first, here = (x[step] for x in rows)
        reached = _max(best[:, None, :] + into)
        return ops.where(here, ops.where(first, start, reached) + scores, best), best

    def backward(tag: Any, step: Any) -> Any:
        _, first, here = (x[step] for x in rows)
        before = ops.cast(ops.argmax(bests[step] + ops.take(into, tag, axis=0), axis=-1), "int32")
        return ops.where(here[:, 0] & ~first[:, 0], before, tag), tag

    final, bests = ops.scan(forward, ops.zeros_like(emissions[:, 0]), _steps(mask))
    tag = ops.cast(ops.argmax(final + end, axis=-1), "int32")
    _, tags = ops.scan(backward, tag, _steps(mask), reverse=True)
    return ops.where(mask, ops.transpose(tags), 0)


def _log_partition(emissions: Any, mask: Any, transitions: Any, start: Any, end: Any) -> Any:
    """Return `log Z` of each row, with the marginals as its gradient."""

    @ops.custom_gradient
    def log_partition(emissions: Any, transitions: Any, start: Any, end: Any) -> Any:
        total, marginals, before, after, norm = _forward_backward(emissions, mask, transitions, start, end)

        def gradient(*upstreams: Any, upstream: Any = None) -> Any:
            upstream = upstreams[0] if upstream is None else upstream
            by_token = marginals * upstream[:, None, None]
            first, last = _ends(mask)
            share = _on(mask & ~first) * upstream[:, None, None] / norm
            pairs = ops.einsum("bsi,bsj->ij", before * share, after) * ops.exp(transitions - ops.max(transitions))
            return by_token, pairs, ops.sum(by_token * _on(first), axis=(0, 1)), ops.sum(by_token * _on(last), axis=(0, 1))

        return total, gradient

    return log_partition(emissions, transitions, start, end)


def _forward_backward(emissions: Any, mask: Any, transitions: Any, start: Any, end: Any) -> tuple[Any, Any, Any, Any, Any]:
    """Return `log Z [B]`, marginals `[B, S, C]`, and the factors of the pairs' marginals.

    Both passes run as one: the backward pass is the forward pass over the flipped rows with the transitions transposed.
    """
    first, last = _ends(mask)
    tops = [ops.max(x) for x in (transitions, start, end)]
    top = _max(emissions)
    scores = ops.exp(emissions - top[..., None])
    steps = ops.exp(transitions - tops[0])
    steps = ops.stack([steps, ops.transpose(steps)])
    edges = ops.stack([ops.exp(start - tops[1]), ops.exp(end - tops[2])])[:, None, :]

    def both_ways(forward: Any, backward: Any) -> Any:
        return ops.transpose(ops.stack([forward, ops.flip(backward, axis=1)]), (2, 0, 1, 3))  # [S, 2, B, ...]

    def one_way(x: Any, way: int) -> Any:
        x = ops.transpose(x[:, way], (1, 0, 2))
        return ops.flip(x, axis=1) if way else x

    def advance(state: Any, step: Any) -> Any:
        here, begins, marked = (x[step] for x in rows)
        new = ops.where(begins, edges, ops.matmul(state, steps)) * here
        new = new / (ops.sum(new, axis=-1, keepdims=True) + _TINY)
        return ops.where(marked, new, state), state

    begins = both_ways(first[..., None], last[..., None])
    rows = (both_ways(scores, scores), begins, both_ways(mask[..., None], mask[..., None]))
    zeros = ops.zeros_like(scores[:, 0])
    final, states = ops.scan(advance, ops.stack([zeros, zeros]), _steps(mask))
    reached = ops.where(begins, edges, ops.matmul(states, steps))
    forward, backward = one_way(reached, 0), one_way(reached, 1) * scores
    marked, some = ops.cast(mask, "float32"), ops.cast(ops.any(mask, axis=1), "float32")

    scale = ops.log(ops.sum(forward * scores, axis=-1) + _TINY) + top + tops[0]
    closing = ops.log(ops.sum(final[0] * edges[1], axis=-1) + _TINY) + tops[1] + tops[2] - tops[0]
    total = ops.sum(ops.where(mask, scale, 0.0), axis=1) + some * closing
    norm = ops.sum(forward * backward, axis=-1, keepdims=True) + _TINY
    return total, forward * backward / norm * marked[..., None], one_way(states, 0), backward, norm


def _ends(mask: Any) -> tuple[Any, Any]:
    """Return masks of each row's first and last marked positions: two bool `[B, S]`."""
    count = ops.cumsum(ops.cast(mask, "int32"), axis=1)
    return mask & (count == 1), mask & (count == count[:, -1:])


def _max(x: Any) -> Any:
    """Return the maximum over the last axis. Without `initial`, Keras refuses a batch without rows."""
    return ops.max(x, axis=-1, initial=-float("inf"))


def _on(mask: Any) -> Any:
    return ops.cast(mask, "float32")[..., None]


def _steps(mask: Any) -> Any:
    """Return the indices to scan over: Keras's `scan` accepts only one array of unknown length, so rows are read by index."""
    return ops.arange(ops.shape(mask)[1], dtype="int32")
