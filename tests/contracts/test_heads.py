"""What every head keeps. A new head joins with one row in `CASES`."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtl.data.encoding import Encoding
from mtl.data.example import Example
from mtl.heads import Classification, Head, MaskedLM, MultiLabel, Regression, Tagging
from tests.served import assert_served

TOKENS, WIDTH = 5, 8


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Args:
        head: makes a head that is ready.
        targets: `(rng, rows)` -> targets of labelled rows, of the head's `target` type.
        filler: what a row without a label holds as target; the worst that the head has to stand.
        label: one label, as a source gives it, of the text "a b c".
    """

    head: Callable[[], Head]
    targets: Callable[[np.random.Generator, int], np.ndarray]
    filler: Any
    label: Any


def classes(rng, rows):
    return rng.integers(0, 3, rows, "int32")


def multi_hot(rng, rows):
    return rng.integers(0, 2, (rows, 3)).astype("float32")


def numbers(rng, rows):
    return rng.normal(20.0, 3.0, rows).astype("float32")


def tag_ids(rng, rows):
    return rng.integers(0, 3, (rows, TOKENS), "int32")


class _Encoder:
    """What a masked language model asks of its encoder."""

    def __init__(self):
        self.token_embedding = keras.layers.Embedding(10, 6)
        self.token_embedding.build()
        self.tokenizer = SimpleNamespace(mask_id=1, special_ids=(0, 1), vocabulary_size=10)


def masked_lm(**options):
    head = MaskedLM(**options)
    head.attach(_Encoder())
    return head


LABELS = ["a", "b", "c"]
TAGS = ["O", "B-X", "I-X"]
CASES = {
    "classification": Case(lambda: Classification(LABELS), classes, -1, "b"),
    "classification, all options": Case(
        lambda: Classification(LABELS, label_smoothing=0.1, class_weights={"a": 3.0}, focal=0.5, hidden=4), classes, 99, "c"
    ),
    "multi_label": Case(lambda: MultiLabel(LABELS), multi_hot, np.nan, ["a", "c"]),
    "multi_label, all options": Case(
        lambda: MultiLabel(LABELS, threshold=0.4, pos_weights=[1, 2, 3], label_smoothing=0.1, focal=0.5, hidden=4),
        multi_hot,
        -1.0,
        "c|b",
    ),
    "regression": Case(lambda: Regression(mean=20.0, scale=3.0), numbers, np.nan, "21.5"),
    "regression, all options": Case(
        lambda: Regression(mean=20.0, scale=3.0, loss="huber", range=(0, 40), hidden=4), numbers, np.inf, 22
    ),
    "tagging": Case(lambda: Tagging(TAGS), tag_ids, -1, ["B-X", "I-X", "O"]),
    "tagging, all options": Case(
        lambda: Tagging(LABELS, scheme=None, label_smoothing=0.1, class_weights={"a": 3.0}, focal=0.5, hidden=4),
        tag_ids,
        99,
        ["c", "a", "b"],
    ),
    "tagging, crf": Case(lambda: Tagging(TAGS, crf=True, level="token", hidden=4), tag_ids, -1, [(0, 3, "X")]),
    "masked_lm": Case(masked_lm, tag_ids, -1, True),
}


@pytest.fixture(params=list(CASES.values()), ids=list(CASES))
def case(request):
    keras.utils.set_random_seed(0)
    return request.param


def make_batch(case: Case, head: Head, rows: int, seed: int = 0):
    """Features, targets and weights of `rows` rows, all labelled."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, TOKENS + 1, rows)
    features = {
        "sequence": rng.normal(size=(rows, TOKENS, WIDTH)).astype("float32"),
        "pooled": rng.normal(size=(rows, WIDTH)).astype("float32"),
        "padding_mask": (np.arange(TOKENS) < lengths[:, None]).astype("int32"),
        "token_ids": rng.integers(1, 10, (rows, TOKENS)).astype("int32"),
    }
    weight = features["padding_mask"].astype("float32") if head.target.per_token else np.ones(rows, "float32")
    return features, case.targets(rng, rows).astype(head.target.dtype), weight


def take(rows, features, target, weight):
    return {name: value[rows] for name, value in features.items()}, target[rows], weight[rows]


def unlabel(case: Case, rows, target, weight):
    """Copies in which only `rows` keep their label."""
    target, weight = target.copy(), weight.copy()
    others = np.setdiff1d(np.arange(len(target)), rows)
    target[others], weight[others] = case.filler, 0
    return target, weight


def evaluate(head: Head, *batches):
    """Sums of loss and weight, and all results of the metrics, over batches of (features, target, weight)."""
    metrics = head.make_metrics()
    sums = np.zeros(2)
    for features, target, weight in batches:
        loss_sum, weight_sum, outputs = head.score(target, weight, features, training=False)
        sums += [float(loss_sum), float(weight_sum)]
        for metric in metrics.values():
            metric.accumulate(metric.statistics(target, outputs, weight, features))
    results: dict[str, float] = {}
    for name, metric in metrics.items():
        result = metric.result()
        results |= {key: float(value) for key, value in (result if isinstance(result, dict) else {name: result}).items()}
    return sums, results


def assert_same(one, other):
    np.testing.assert_allclose(one[0], other[0], rtol=1e-5, atol=1e-6)
    assert one[1].keys() == other[1].keys()
    for name in one[1]:
        np.testing.assert_allclose(one[1][name], other[1][name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_unlabelled_rows_are_as_rows_left_out(case):
    head = case.head()
    features, target, weight = make_batch(case, head, 12)
    rows = np.array([1, 4, 5, 10])
    masked = (features, *unlabel(case, rows, target, weight))
    alone = take(rows, features, target, weight)
    assert_same(evaluate(head, masked), evaluate(head, alone))


def test_unlabelled_rows_have_no_gradient(case):
    head = case.head()
    features, target, weight = make_batch(case, head, 6)
    rows = np.array([0, 3])
    features = {name: tf.constant(value) for name, value in features.items()}
    real = [name for name, value in features.items() if value.dtype.is_floating]
    with tf.GradientTape() as tape:
        tape.watch([features[name] for name in real])
        loss_sum, _, _ = head.score(*unlabel(case, rows, target, weight), features, training=False)
    gradients = tape.gradient(loss_sum, [features[name] for name in real], unconnected_gradients="zero")
    moved = sum(np.abs(g.numpy()).reshape(6, -1).sum(1) for g in gradients)
    assert (moved[rows] > 0).all()
    assert moved[[1, 2, 4, 5]].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("rows", [0, 4])
def test_a_batch_without_labels_is_nothing(case, rows):
    head = case.head()
    head.score(*_order(make_batch(case, head, 2)), training=False)
    features, target, weight = make_batch(case, head, rows)
    target, weight = unlabel(case, np.array([], int), target, weight)
    with tf.GradientTape() as tape:
        loss_sum, weight_sum, _ = head.score(target, weight, features, training=False)
    assert (float(loss_sum), float(weight_sum)) == (0.0, 0.0)
    gradients = tape.gradient(loss_sum, [v.value for v in head.trainable_variables], unconnected_gradients="zero")
    assert all((tf.convert_to_tensor(g).numpy() == 0).all() for g in gradients)
    assert all(np.isnan(value) for value in evaluate(head, (features, target, weight))[1].values())


def _order(batch):
    features, target, weight = batch
    return target, weight, features


def test_batches_add_up(case):
    head = case.head()
    batch = make_batch(case, head, 12)
    parts = [take(slice(*ends), *batch) for ends in ((0, 5), (5, 6), (6, 12))]
    assert_same(evaluate(head, batch), evaluate(head, *parts))


def test_config_round_trips(case):
    head = case.head()
    again = type(head).from_config(json.loads(json.dumps(head.get_config())))
    assert json.dumps(again.get_config()) == json.dumps(head.get_config())
    assert again.ready
    assert again.target == head.target


def test_saves_and_loads(case, tmp_path):
    head = case.head()
    features, _, _ = make_batch(case, head, 4)
    inputs = {name: keras.Input(value.shape[1:], dtype=value.dtype.name, name=name) for name, value in features.items()}
    model = keras.Model(inputs, head(inputs))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    for one, other in zip(keras.tree.flatten(model(features)), keras.tree.flatten(again(features)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_symbolic_outputs_are_like_real_ones(case):
    head = case.head()
    features, _, _ = make_batch(case, head, 4)
    symbolic = head({name: keras.KerasTensor((None, *value.shape[1:]), value.dtype.name) for name, value in features.items()})
    real = head(features)
    for one, other in zip(keras.tree.flatten(symbolic), keras.tree.flatten(real), strict=True):
        assert (one.shape[1:], one.dtype) == (tuple(other.shape[1:]), keras.backend.standardize_dtype(other.dtype))


def test_encodes_and_decodes(case):
    head = case.head()
    features, _, _ = make_batch(case, head, 1)
    example = Example("a b c", words=((0, 1), (2, 3), (4, 5)))
    offsets = np.array([[-1, -1], [0, 1], [2, 3], [4, 5], [-1, -1]], "int32")
    encoding = Encoding(np.arange(5, dtype="int32"), np.zeros(5, "int32"), offsets, example.text)
    target, weight = head.encode(case.label, example, encoding)
    assert np.shape(target) == tuple(len(encoding) if n == "tokens" else n for n in head.target.axes)
    assert np.shape(weight) == ((len(encoding),) if head.target.per_token else ())
    if not head.needs_offsets:
        blind = Encoding(encoding.token_ids, encoding.segment_ids, np.full_like(offsets, -1), example.text)
        assert keras.tree.map_structure(np.array_equal, (target, weight), head.encode(case.label, example, blind)) == (True, True)
    if not head.predicts:
        return
    prediction = keras.tree.map_structure(lambda x: x[0].numpy(), head.activate(head(features), features))
    decoded = head.decode(prediction, example, encoding)
    assert isinstance(decoded, dict)
    json.dumps(decoded)


def test_serves_what_it_decodes(case):
    head = case.head()
    if not head.predicts:
        return
    features, _, _ = make_batch(case, head, 12)
    outputs = head.activate(head(features), features)
    prediction = keras.tree.map_structure(lambda x: x.numpy(), outputs)
    # A special token, then a token a word; most words are cut off, and texts of no words are among them.
    sizes = features["padding_mask"].sum(1)
    examples = [Example("aa b cc d ee" if size > 1 else "") for size in sizes]
    offsets = np.array([[-1, -1], [0, 2], [3, 4], [5, 7], [8, 9]], "int32")
    words = np.array([(0, 2), (3, 4), (5, 7), (8, 9), (10, 12)], "int32")
    rows = zip(sizes, examples, strict=True)
    encodings = [Encoding(np.arange(n, dtype="int32"), np.zeros(n, "int32"), offsets[:n], e.text) for n, e in rows]
    real, full = np.arange(TOKENS) < sizes[:, None], sizes[:, None] > 1
    tokens = {
        "starts": np.where(real, offsets[:, 0], -1),
        "ends": np.where(real, offsets[:, 1], -1),
        "segment_ids": np.zeros_like(features["padding_mask"]),
        "word_starts": np.where(full, words[:, 0], -1),
        "word_ends": np.where(full, words[:, 1], -1),
        "word_tokens": np.where(np.arange(1, 6) < sizes[:, None], np.arange(1, 6), -1),
    }
    tensors = {name: tf.constant(value, tf.int32) for name, value in tokens.items()}
    served = {name: value.numpy() for name, value in head.serve(outputs, tensors).items()}
    assert {1} < set(sizes.tolist())
    for i, (example, encoding) in enumerate(zip(examples, encodings, strict=True)):
        mine = keras.tree.map_structure(lambda x, i=i: x[i][: sizes[i]] if head.target.per_token else x[i], prediction)
        decoded = head.decode(mine, example, encoding)
        assert_served(head, {name: value[i] for name, value in served.items()}, decoded, example.text)
