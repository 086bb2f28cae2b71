import json

import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import precision_recall_fscore_support

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
        ({"threshold": 1.0}, "`threshold` is between 0 and 1, got 1.0"),
        ({"label_smoothing": -0.1}, "`label_smoothing` is from 0 to below 1, got -0.1"),
        ({"focal": -1}, "`focal` is 0 or more, got -1"),
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
    with pytest.raises(ValueError, match="MultiLabel takes a list of labels, or one string with '|' between, got 3."):
        head.encode(3, *ABOUT)
    with pytest.raises(ValueError, match="needs at least one label, got none"):
        MultiLabel().learn(["", []])


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


def test_labels_that_training_never_held_can_only_be_missed():
    gold, predicted = [["a"], ["a", "rare"]], [{"labels": ["a"]}, {"labels": ["a"]}]
    scores = MultiLabel(["a", "b"]).report(gold, predicted, [EXAMPLE] * 2)
    # Two right labels, none wrong, one missed.
    assert scores["subset_accuracy"] == 0.5 and scores["micro_recall"] == pytest.approx(2 / 3)
    assert MultiLabel(["a", "b"], unknown="ignore").report(gold, predicted, [EXAMPLE] * 2)["micro_recall"] == 1


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
    assert list(head.labels) == names and head.encode(value, *ABOUT)[0].tolist() == expected
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
