import json

import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import precision_recall_fscore_support

import mtl
from mtl.data.encoding import Encoding
from mtl.data.example import Example
from mtl.heads import MultiLabel
from mtl.heads.head import Target

EXAMPLE = Example("a text")
ABOUT = (EXAMPLE, Encoding(np.zeros(1, "int32"), np.zeros(1, "int32"), np.zeros([1, 2], "int32"), EXAMPLE.text))

P = np.array([[0.8, 0.3], [0.5, 0.1]])
LOGITS = np.log(P / (1 - P)).astype("float32")


def test_learns_labels_from_lists_and_strings():
    head = MultiLabel()
    assert not head.ready
    head.learn([["wind", "rain"], [], "snow|wind", ""])
    assert (head.ready, head.labels, head.target) == (True, ("rain", "snow", "wind"), Target((3,), "float32"))


@pytest.mark.parametrize("value", [["c", "a"], ("a", "c"), {"a", "c"}, "a|c", " c | a |"])
def test_encodes_every_form(value):
    target, weight = MultiLabel(["a", "b", "c"]).encode(value, *ABOUT)
    assert (target.tolist(), target.dtype, weight) == ([1, 0, 1], np.float32, 1.0)


@pytest.mark.parametrize("value", [[], "", " | "])
def test_no_label_is_a_label(value):
    target, weight = MultiLabel(["a", "b"]).encode(value, *ABOUT)
    assert (target.tolist(), weight) == ([0, 0], 1.0)


def test_another_separator_and_numbers():
    assert MultiLabel(3, separator=",").encode("0, 2", *ABOUT)[0].tolist() == [1, 0, 1]
    assert MultiLabel(3).encode([1], *ABOUT)[0].tolist() == [0, 1, 0]


def test_loss_is_meaned_over_labels():
    head = MultiLabel(["a", "b"])
    loss_sum, weight_sum = head.loss(np.array([[1, 0], [0, 1]]), LOGITS, np.array([1.0, 3.0]), {})
    first, second = -(np.log(0.8) + np.log(0.7)) / 2, -(np.log(0.5) + np.log(0.1)) / 2
    np.testing.assert_allclose([loss_sum, weight_sum], [first + 3 * second, 4.0], rtol=1e-6)


def test_pos_weights_do_not_enter_the_sum_of_weights():
    head = MultiLabel(["a", "b"], pos_weights={"b": 5})
    loss_sum, weight_sum = head.loss(np.array([[1, 0], [0, 1]]), LOGITS, np.ones(2), {})
    expected = -(np.log(0.8) + np.log(0.7) + np.log(0.5) + 5 * np.log(0.1)) / 2
    np.testing.assert_allclose([loss_sum, weight_sum], [expected, 2.0], rtol=1e-6)


def test_pos_weights_by_label_wait_for_the_labels():
    head = MultiLabel(pos_weights={"b": 5})
    head.learn(["b", "a|b"])
    loss_sum, _ = head.loss(np.array([[0, 1]]), LOGITS[:1], np.ones(1), {})
    np.testing.assert_allclose(loss_sum, -(np.log(0.2) + 5 * np.log(0.3)) / 2, rtol=1e-6)
    again = MultiLabel.from_config(json.loads(json.dumps(head.get_config())))
    np.testing.assert_array_equal(again.loss(np.array([[0, 1]]), LOGITS[:1], np.ones(1), {})[0], loss_sum)


def test_rows_without_label_may_hold_nan():
    outputs = tf.constant([[np.nan, np.inf], [0.0, 0.0]])
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        loss_sum, weight_sum = MultiLabel(2, focal=0.5).loss(np.array([[np.nan, 9], [1, 0]]), outputs, np.array([0.0, 1.0]), {})
    assert np.isfinite(float(loss_sum))
    assert float(weight_sum) == 1
    gradient = tape.gradient(loss_sum, outputs).numpy()
    assert gradient[0].tolist() == [0, 0]
    assert np.isfinite(gradient).all()


def test_decodes():
    head = MultiLabel(["a", "b", "c"], threshold=0.25)
    decoded = head.decode(np.array([0.25, 0.125, 0.75], "float32"), *ABOUT)
    assert decoded == {"labels": ["a", "c"], "probabilities": {"a": 0.25, "b": 0.125, "c": 0.75}}


def test_report_equals_scikit_learn():
    head = MultiLabel(["a", "b", "c"])
    gold = [["a"], "a|b", [], ["c"]]
    guess = [["a"], ["b"], [], ["a"]]
    truth = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 1]])
    answer = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0], [1, 0, 0]])
    result = head.report(gold, [{"labels": labels} for labels in guess], [EXAMPLE] * 4, per_class=True)
    expected = {"subset_accuracy": 0.5, "f1:a": 0.5, "f1:b": 1.0, "f1:c": 0.0}
    for kind in ("macro", "micro"):
        precision, recall, f1, _ = precision_recall_fscore_support(truth, answer, average=kind, zero_division=0)
        expected |= {f"{kind}_f1": f1, f"{kind}_precision": precision, f"{kind}_recall": recall}
    assert result == pytest.approx(expected)


def test_report_equals_the_metrics_in_the_graph():
    rng = np.random.default_rng(0)
    gold, logits = rng.integers(0, 2, (50, 3)), rng.normal(size=(50, 3)).astype("float32")
    head = MultiLabel(3, threshold=0.4)
    metrics = head.make_metrics()
    for metric in metrics.values():
        metric.update_state(gold, logits, np.ones(50), {})
    predicted = [head.decode(p, *ABOUT) for p in head.activate(logits, {}).numpy()]
    report = head.report([np.flatnonzero(row).tolist() for row in gold], predicted, [EXAMPLE] * 50)
    assert float(metrics["subset_accuracy"].result()) == pytest.approx(report["subset_accuracy"])
    for name, value in metrics["counts"].result().items():
        assert float(value) == pytest.approx(report[name], abs=1e-6), name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threshold": 1.0}, "`threshold` as a number above 0 to below 1; got 1.0"),
        ({"label_smoothing": -0.1}, "`label_smoothing` as a number from 0 to below 1; got -0.1"),
        ({"focal": -1}, "`focal` as a finite number from 0; got -1"),
        ({"labels": 2, "pos_weights": [1, 0]}, "`pos_weights` takes positive finite numbers"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        MultiLabel(**arguments)


def test_bad_labels():
    head = MultiLabel(["rain", "snow"])
    with pytest.raises(ValueError, match="Unknown label 'rian'; did you mean 'rain'[?]"):
        head.encode("snow|rian", *ABOUT)
    with pytest.raises(
        ValueError, match="MultiLabel takes a list of labels, a mapping .* or one string with '|' between; got 3."
    ):
        head.encode(3, *ABOUT)
    with pytest.raises(ValueError, match="needs at least one label, got none"):
        MultiLabel().learn(["", []])
    for value in ([None, 1], [float("nan")]):
        with pytest.raises(ValueError, match="takes a list of names of labels; got .*multi_hot=True"):
            head.encode(value, *ABOUT)
    with pytest.raises(ValueError, match="a mapping from label to 1, 0, or None for what is not known; got {'rain': 'yes'}"):
        head.encode({"rain": "yes"}, *ABOUT)


def test_not_ready_and_unknown_features():
    features = {"pooled": np.ones((2, 8), "float32")}
    with pytest.raises(ValueError, match="does not know its labels yet: pass `labels`"):
        MultiLabel()(features)
    with pytest.raises(ValueError, match="Unknown features 'poled'; did you mean 'pooled'[?]"):
        MultiLabel(3, features="poled")(features)


def test_a_label_that_training_never_saw():
    with pytest.raises(ValueError, match="Unknown label 'fog'.*unknown='ignore'"):
        MultiLabel(["rain", "snow"]).encode(["rain", "fog"], *ABOUT)
    head = MultiLabel(["rain", "snow"], unknown="ignore")
    assert head.encode(["rain", "fog"], *ABOUT)[0].tolist() == [1.0, 0.0]
    assert MultiLabel.from_config(head.get_config()).unknown == "ignore"


def test_labels_that_training_never_held_are_left_out_and_counted():
    gold, predicted = [["a"], ["a", "rare"], {"odd": 1}], [{"labels": ["a"]}, {"labels": ["a"]}, {"labels": ["b"]}]
    for unknown in ("raise", "ignore"):
        scores = MultiLabel(["a", "b"], unknown=unknown).report(gold, predicted, [])
        assert (scores["subset_accuracy"], scores["micro_recall"], scores["unknown"]) == (1, 1, 2)


NAN = np.nan


@pytest.mark.parametrize(
    ("multi_hot", "value", "target"),
    [
        (None, {"a": 1, "c": 0, "b": None}, [1, NAN, 0]),
        (False, {"b": True}, [NAN, 1, NAN]),
        (None, {"a": "0", "b": NAN, "c": 1.0}, [0, NAN, 1]),
        (True, [1, None, 0], [1, NAN, 0]),
        (True, (NAN, "1", -1), [NAN, 1, NAN]),
        (True, {"a": 1}, [1, NAN, NAN]),
    ],
)
def test_labels_known_in_part(multi_hot, value, target):
    head = MultiLabel(["a", "b", "c"], multi_hot=multi_hot)
    found, weight = head.encode(value, *ABOUT)
    np.testing.assert_array_equal(found, np.float32(target))
    assert weight == 1.0 and head.known(value) == (value, 0)


def test_a_row_of_which_nothing_is_known_has_no_label():
    assert MultiLabel(2, multi_hot=True).encode([None, None], *ABOUT)[1] == 0.0
    assert MultiLabel(["a"]).encode({}, *ABOUT)[1] == 0.0 and MultiLabel(["a"]).known({}) == (None, 0)


def test_learns_from_multi_hot_lists_and_mappings():
    head = MultiLabel(multi_hot=True)
    head.learn([[0, 1, None], [1, 0, 0]])
    assert head.labels == (0, 1, 2)
    head = MultiLabel()
    head.learn([{"b": 0}, ["a"]])
    assert head.labels == ("a", "b")


@pytest.mark.parametrize("absent", [NAN, -1.0])
@pytest.mark.parametrize("by_class", [False, True])
def test_the_loss_is_of_the_labels_that_are_known(absent, by_class):
    """-log of 0.8, 0.7 (1 - 0.3) and 0.1, the last with the second row's weight; NaN and its logit have no part."""
    head, weight = MultiLabel(["a", "b"]), np.array([1.0, 3.0], "float32")
    if by_class:
        weight = np.array([[1.0, 1.0], [9.0, 3.0]], "float32")
    logits = tf.constant(LOGITS)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss_sum, weight_sum = head.loss(np.array([[1, 0], [absent, 1]], "float32"), logits, weight, {})
        loss = loss_sum / weight_sum
    np.testing.assert_allclose(loss, -(np.log(0.8) + np.log(0.7) + 3 * np.log(0.1)) / 5, rtol=1e-6)
    # (p - t) w / sum of w
    np.testing.assert_allclose(tape.gradient(loss, logits), [[-0.2 / 5, 0.3 / 5], [0, -0.9 * 3 / 5]], rtol=1e-5)


def test_metrics_and_report_of_labels_known_in_part_are_scikit_learns():
    rng = np.random.default_rng(0)
    gold, logits = rng.integers(0, 2, (80, 4)).astype("float32"), rng.normal(size=(80, 4)).astype("float32")
    gold[rng.random(gold.shape) < 0.4] = np.nan
    gold[:, 3] = np.nan
    gold[5] = np.nan
    head = MultiLabel(4, multi_hot=True)
    metrics = head.make_metrics()
    weight = head.given(gold, np.ones(80, "float32"))
    for metric in metrics.values():
        metric.update_state(gold, logits, weight, {})
    report = head.report(gold.tolist(), [head.decode(p, *ABOUT) for p in head.activate(logits, {}).numpy()], [], per_class=True)
    known = ~np.isnan(gold)
    micro = precision_recall_fscore_support(gold[known], (logits > 0)[known], average="binary")[:3]
    each = [
        precision_recall_fscore_support(gold[k, c], logits[k, c] > 0, average="binary")[:3] for c, k in enumerate(known.T[:3])
    ]
    macro = np.mean(each, axis=0)
    rows = known.any(axis=1)
    subset = ((gold == (logits > 0)) | ~known).all(axis=1)[rows].mean()
    assert report["subset_accuracy"] == pytest.approx(subset) == float(metrics["subset_accuracy"].result())
    found = metrics["counts"].result()
    for kind, expected in (("micro", micro), ("macro", macro)):
        for name, value in zip(("precision", "recall", "f1"), expected, strict=True):
            assert report[f"{kind}_{name}"] == pytest.approx(value) == float(found[f"{kind}_{name}"])
    assert [report[f"f1:{c}"] for c in range(3)] == pytest.approx([f1 for _, _, f1 in each]) and "f1:3" not in report


@pytest.mark.parametrize("form", ["records", "jsonl"])
def test_sources_with_labels_known_in_part(form, tmp_path):
    rows = [
        {"text": "a b", "sky": {"rain": 1, "snow": None}},
        {"text": "c", "sky": {"rain": 0, "snow": 1}},
        {"text": "d", "sky": None},
    ]
    if form == "records":
        source = mtl.data.records({"train": rows}, label="sky")
    else:
        (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        source = mtl.data.jsonl(tmp_path / "train.jsonl", label="sky", fractions=None)
    encoder = mtl.encoders.Recurrent(mtl.data.Tokenizer.learn("wordpiece", ["a b c d"], size=60), embedding=4, units=4)
    task = mtl.Task("sky", MultiLabel(dropout=0.0), source)
    model = mtl.MultiTaskModel(encoder, task)
    model.compile("sgd")
    data = mtl.data.mix([task], encoder, batch_size=4)
    ((_, y, weight),) = list(data)
    np.testing.assert_array_equal(y["sky"].numpy()[np.argsort(np.isnan(y["sky"].numpy()[:, 1]))], [[0, 1], [1, np.nan]])
    assert weight["sky"].numpy().tolist() == [1, 1]
    scores = model.evaluate(data, return_dict=True, verbose=0)
    report = model.report("train")["sky"]
    assert np.isfinite(scores["loss"]) and report.pop("examples") == 2
    assert {name: scores[f"sky_{name}"] for name in report} == pytest.approx(report)
    model.fit(data, verbose=0)
    assert all(np.isfinite(weights).all() for weights in model.get_weights())


@pytest.mark.parametrize("value", [[0, 1, 1], [1.0, 0.0, 0.0], [True, False, True], ["0", "1", "1"], "0|1|1"])
@pytest.mark.parametrize("labels", [None, 3, ["a", "b", "c"]])
def test_multi_hot_values(value, labels):
    """A list of names and a multi-hot list never mean the same: the head is told which, or says so."""
    with pytest.raises(
        ValueError, match="takes a list of different labels; got .* repeated. Give the head multi_hot=True if .*, False if"
    ):
        MultiLabel(labels).learn([value])
    head = MultiLabel(labels, multi_hot=True)
    head.learn([value, [0, 0, 1]])
    names = labels if isinstance(labels, list) else [0, 1, 2]
    expected = [float(str(part) in ("1", "1.0", "True")) for part in (value.split("|") if isinstance(value, str) else value)]
    assert list(head.labels or ()) == names and head.encode(value, *ABOUT)[0].tolist() == expected
    again = MultiLabel.from_config(json.loads(json.dumps(head.get_config())))
    predicted = [again.decode(np.array(expected, "float32"), *ABOUT)]
    assert again.report([value], predicted, [EXAMPLE])["subset_accuracy"] == 1.0
    with pytest.raises(ValueError, match="multi_hot=True takes one 0 or 1 for each of 3 labels; got .0, 1."):
        head.encode([0, 1], *ABOUT)
    with pytest.raises(ValueError, match="multi_hot=True takes one 0 or 1 for each of 3 labels; got .0, 1, 2."):
        head.encode([0, 1, 2], *ABOUT)


@pytest.mark.parametrize("labels", [2, ["a", "b"]])
@pytest.mark.parametrize("value", [[0, 1], [1, 0], [True, False], "1|0"])
def test_values_that_may_be_names_or_multi_hot(labels, value):
    with pytest.raises(
        ValueError, match="got .*, which may be multi-hot. Give the head multi_hot=True if .*, False if these are names"
    ):
        MultiLabel(labels).encode(value, *ABOUT)
    assert MultiLabel(2, multi_hot=False).encode([1, 0], *ABOUT)[0].tolist() == [1, 1]
    assert MultiLabel(2, multi_hot=True).encode([1, 0], *ABOUT)[0].tolist() == [1, 0]
    assert MultiLabel(3).encode([1, 0], *ABOUT)[0].tolist() == [1, 1, 0]


@pytest.mark.parametrize("value", [["rain", "rain"], "rain|snow|rain", ["3", 3.0]])
def test_repeated_names(value):
    with pytest.raises(ValueError, match="MultiLabel takes a list of different labels; got .* with '(rain|3)' repeated.$"):
        MultiLabel(["rain", "snow", "3"]).encode(value, *ABOUT)


def test_multi_hot_values_of_sources():
    import tensorflow as tf

    import mtl

    rows = [{"text": "a", "on": [0, 1, 1]}, {"text": "b", "on": [1, 0, 0]}]
    dataset = tf.data.Dataset.from_tensor_slices({"text": ["a", "b"], "on": [[0, 1, 1], [1, 0, 0]]})
    for source in (
        mtl.data.records(rows, label="on", fractions=None),
        mtl.data.from_dataset(dataset, label="on", fractions=None),
    ):
        with pytest.raises(ValueError, match="item 1: task 'on': .*multi_hot=True"):
            mtl.Task("on", MultiLabel(), source).prepare()
        task = mtl.Task("on", MultiLabel(multi_hot=True), source)
        task.prepare()
        assert [task.head.encode(value, *ABOUT)[0].tolist() for _, value in task.labelled("train")] == [[0, 1, 1], [1, 0, 0]]


@pytest.mark.parametrize(
    "values",
    [[[0], [1], [0]], [[1, -1], [0, 1]], [[1, -1, 0], [0, 1, -1]], ["0", "1"], [["true", "false"], ["false", "true"]]],
)
def test_lists_that_all_may_be_multi_hot(values):
    with pytest.raises(ValueError, match="got .*, which may be multi-hot. Give the head multi_hot=True if .*, False if"):
        MultiLabel().learn(values)
    names = MultiLabel(multi_hot=False)
    names.learn(values)
    assert names.labels and names.encode(values[0], *ABOUT)[0].sum() == len(values[0])
    MultiLabel(multi_hot=True).learn(values)


@pytest.mark.parametrize("values", [[[0], [1], []], [[0], [1, 2]], [["1"], ["on"]], [{"a": 1, "b": 0}], [{"0", "1"}, {"2"}]])
def test_lists_of_which_some_cannot_be_multi_hot(values):
    head = MultiLabel()
    head.learn(values)
    assert head.ready


def test_probabilities_are_no_names():
    with pytest.raises(ValueError, match=r"got .0.2, 0.8., which may be probabilities. Give 0 and 1 and multi_hot=True if they"):
        MultiLabel().learn([[0.2, 0.8]])
    head = MultiLabel(multi_hot=False)
    head.learn([[0.2, 0.8], [0.5]])
    assert head.labels == (0.2, 0.5, 0.8)
