from itertools import product

import numpy as np
import pytest
import tensorflow as tf

from mtl.layers.crf import crf_log_likelihood, crf_marginals, crf_viterbi

KINDS = 3
MASKS = {
    "full": [1, 1, 1, 1, 1],
    "trailing": [1, 1, 1, 0, 0],
    "gaps": [0, 1, 0, 1, 1],
    "wide gaps": [0, 1, 0, 0, 1],
    "single": [0, 0, 1, 0, 0],
}
MASK = np.array(list(MASKS.values()))


def parameters(seed=0, scale=2.0):
    rng = np.random.default_rng(seed)
    shapes = {"emissions": (len(MASK), 5, KINDS), "transitions": (KINDS, KINDS), "start": (KINDS,), "end": (KINDS,)}
    return {name: (scale * rng.normal(size=shape)).astype("float32") for name, shape in shapes.items()}


def paths(row, emissions, transitions, start, end):
    """Every path of a row's marked positions, and its score, by the definition."""
    places = np.flatnonzero(MASK[row])
    for path in product(range(KINDS), repeat=len(places)):
        score = start[path[0]] + end[path[-1]] + sum(emissions[row, place, tag] for place, tag in zip(places, path, strict=True))
        yield places, path, score + sum(transitions[a, b] for a, b in zip(path, path[1:], strict=False))


def log_partition(row, **p):
    return np.logaddexp.reduce([score for _, _, score in paths(row, **p)])


def test_log_likelihood_is_that_of_all_paths():
    p = parameters()
    tags = np.random.default_rng(1).integers(0, KINDS, MASK.shape)
    expected = []
    for row in range(len(MASK)):
        gold = next(s for places, path, s in paths(row, **p) if path == tuple(tags[row, places]))
        expected.append(gold - log_partition(row, **p))
    found = crf_log_likelihood(tags=np.where(MASK, tags, 77), mask=MASK, **p)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_marginals_are_those_of_all_paths():
    p = parameters(2)
    expected = np.zeros((*MASK.shape, KINDS))
    for row in range(len(MASK)):
        total = log_partition(row, **p)
        for places, path, score in paths(row, **p):
            expected[row, places, path] += np.exp(score - total)
    np.testing.assert_allclose(crf_marginals(mask=MASK, **p), expected, atol=1e-5)


def test_viterbi_is_the_best_of_all_paths():
    for seed in range(5):
        p = parameters(seed)
        expected = np.zeros(MASK.shape, int)
        for row in range(len(MASK)):
            places, path, _ = max(paths(row, **p), key=lambda each: each[2])
            expected[row, places] = path
        assert np.asarray(crf_viterbi(mask=MASK, **p)).tolist() == expected.tolist()


def test_gradient_is_that_of_the_plain_formula():
    p = {name: tf.constant(value) for name, value in parameters(3, scale=1.0).items()}
    tags = np.random.default_rng(4).integers(0, KINDS, MASK.shape)
    upstream = tf.constant([1.0, -2.0, 0.5, 3.0, 1.5])

    def plain():
        rows = []
        for row, marked in enumerate(MASK):
            places = np.flatnonzero(marked)
            each = np.array(list(product(range(KINDS), repeat=len(places))))
            scores = tf.gather(p["start"], each[:, 0]) + tf.gather(p["end"], each[:, -1])
            for step, place in enumerate(places):
                scores += tf.gather(p["emissions"][row, place], each[:, step])
                if step:
                    scores += tf.gather_nd(p["transitions"], each[:, step - 1 : step + 1])
            gold = (each == tags[row, places]).all(axis=1).argmax()
            rows.append(scores[gold] - tf.reduce_logsumexp(scores))
        return tf.stack(rows)

    gradients = []
    for function in (plain, lambda: crf_log_likelihood(tags=tags, mask=MASK, **p)):
        with tf.GradientTape() as tape:
            tape.watch(list(p.values()))
            loss = tf.reduce_sum(function() * upstream)
        gradients.append(tape.gradient(loss, list(p.values())))
    for name, one, other in zip(p, *gradients, strict=True):
        np.testing.assert_allclose(other, tf.convert_to_tensor(one), atol=2e-5, err_msg=name)


def test_rows_without_positions():
    p = parameters()
    none = np.zeros_like(MASK)
    with tf.GradientTape() as tape:
        emissions = tf.constant(p.pop("emissions"))
        tape.watch(emissions)
        likelihood = crf_log_likelihood(emissions, none, none, **p)
    assert likelihood.numpy().tolist() == [0.0] * len(MASK)
    assert not np.any(tape.gradient(likelihood, emissions))
    assert not np.any(crf_marginals(emissions, none, **p))
    assert not np.any(crf_viterbi(emissions, none, **p))
    assert crf_log_likelihood(emissions[:0], none[:0], none[:0], **p).shape == (0,)
    assert crf_viterbi(emissions[:0], none[:0], **p).shape == (0, 5)


def test_long_rows_and_large_scores_stay_finite():
    zero = np.zeros(2, "float32")
    emissions = np.tile(np.array([60.0, 0.0], "float32"), (2, 500, 1))
    tags = np.repeat([[0], [1]], 500, axis=1)
    function = tf.function(crf_log_likelihood, autograph=False)
    found = function(emissions, tags, np.ones([2, 500]), np.zeros([2, 2]), zero, zero)
    np.testing.assert_allclose(found, [0.0, -30000.0], rtol=1e-5, atol=0.05)


@pytest.mark.parametrize("jit", [False, True])
def test_graphs_of_unknown_length(jit):
    p = parameters()
    shape = [None, None] if not jit else list(MASK.shape)

    signature = [tf.TensorSpec([*shape, KINDS]), tf.TensorSpec(shape, tf.int32)]

    @tf.function(input_signature=signature, jit_compile=jit, autograph=False)
    def run(emissions, mask):
        rest = {name: p[name] for name in ("transitions", "start", "end")}
        return crf_viterbi(emissions, mask, **rest), crf_log_likelihood(emissions, tf.zeros_like(mask), mask, **rest)

    tags, likelihood = run(p["emissions"], MASK.astype("int32"))
    assert tags.numpy().tolist() == np.asarray(crf_viterbi(mask=MASK, **p)).tolist()
    np.testing.assert_allclose(likelihood, crf_log_likelihood(tags=np.zeros_like(MASK), mask=MASK, **p), rtol=1e-5)
