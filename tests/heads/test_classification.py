import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import matthews_corrcoef, precision_recall_fscore_support
from sklearn.utils.class_weight import compute_class_weight

from mtl.data.encoding import Encoding
from mtl.data.example import Example
from mtl.heads import Classification

EXAMPLE = Example("a text")
ABOUT = (EXAMPLE, Encoding(np.zeros(1, "int32"), np.zeros(1, "int32"), np.zeros([1, 2], "int32"), EXAMPLE.text))

ONES = np.ones(2, "float32")
LOGITS = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.5, 0.4]], "float32"))


def sums(head, target, outputs=LOGITS, weight=ONES):
    return [float(value) for value in head.loss(np.asarray(target), outputs, weight, {})]


def test_learns_labels_in_order():
    head = Classification()
    assert (head.ready, head.labels) == (False, None)
    head.learn(["sports", "politics", "sports"])
    assert (head.ready, head.labels) == (True, ("politics", "sports"))
    assert [head.encode(label, *ABOUT) for label in ("sports", "politics")] == [(1, 1.0), (0, 1.0)]


def test_strings_of_csv_and_numbers_of_json_are_one_label():
    head = Classification(5)
    assert [head.encode(label, *ABOUT)[0] for label in ("3", 3, 3.0)] == [3, 3, 3]
    assert Classification(["10", "9"]).encode(9, *ABOUT)[0] == 1


def test_loss_is_a_sum_and_the_sum_of_weights():
    expected = -2 * np.log(0.7) - 0.5 * np.log(0.4)
    np.testing.assert_allclose(sums(Classification(3), [0, 2], weight=np.array([2.0, 0.5])), [expected, 2.5], rtol=1e-6)


def test_class_weights_make_a_weighted_mean():
    head = Classification(["a", "b", "c"], class_weights={"a": 4.0, "c": 0.5})
    loss_sum, weight_sum = sums(head, [0, 2])
    np.testing.assert_allclose([loss_sum, weight_sum], [-4 * np.log(0.7) - 0.5 * np.log(0.4), 4.5], rtol=1e-6)
    one_hot = sums(head, [[1, 0, 0], [0, 0, 1]])
    np.testing.assert_allclose(one_hot, [loss_sum, weight_sum], rtol=1e-6)


def test_soft_targets_weigh_what_their_classes_weigh():
    head = Classification(3, class_weights=[1, 2, 4])
    np.testing.assert_allclose(sums(head, [[0.5, 0.5, 0.0], [0.0, 0.0, 0.25]])[1], 1.5 + 1.0)


@pytest.mark.parametrize("labels", [None, ["b", "a", "c"]])
def test_balanced_weights_come_from_the_training_split(labels):
    head = Classification(labels, class_weights="balanced")
    assert not head.ready
    head.learn(["a", "a", "a", "b", "c", "c"])
    config = head.get_config()
    assert head.ready
    assert dict(zip(config["labels"], config["class_weights"], strict=True)) == pytest.approx({"a": 6 / 9, "b": 6 / 3, "c": 1})
    again = Classification.from_config(json.loads(json.dumps(config)))
    assert again.ready
    assert again.get_config()["class_weights"] == config["class_weights"]
    target = [head.encode("b", *ABOUT)[0], head.encode("c", *ABOUT)[0]]
    assert sums(again, target) == sums(head, target)
    assert sums(again, target)[1] == pytest.approx(3.0)


def test_balanced_weights_count_a_class_that_never_occurs_as_one():
    head = Classification(["a", "b"], class_weights="balanced")
    head.learn(["a", "a", "a", "a"])
    assert head.get_config()["class_weights"] == [0.5, 2.0]


def test_balanced_weights_count_examples_with_their_weights():
    values, weights = ["a", "b", "a", "c", "b"], [2.0, 0.5, 1.0, 0.25, 3.0]
    head = Classification(class_weights="balanced")
    head.learn(values, weights)
    expected = compute_class_weight("balanced", classes=np.array(["a", "b", "c"]), y=np.array(values), sample_weight=weights)
    assert head.get_config()["class_weights"] == pytest.approx(expected.tolist())


def test_balanced_weights_leave_unknown_labels_out():
    head = Classification(["a", "b"], class_weights="balanced", unknown="ignore")
    head.learn(["a", "other", "b", "a", "a"])
    assert head.get_config()["class_weights"] == pytest.approx([4 / 6, 4 / 2])


def test_a_smoothed_target_weighs_what_its_classes_weigh():
    head = Classification(2, class_weights=[1.0, 4.0], label_smoothing=0.2)
    # The target (0.9, 0.1) weighs 0.9 + 0.4; with equal logits each class costs log 2.
    loss_sum, weight_sum = head.loss(np.array([0]), tf.zeros([1, 2]), np.ones(1, "float32"), {})
    np.testing.assert_allclose([loss_sum, weight_sum], [1.3 * np.log(2.0), 1.3], rtol=1e-6)


def test_rows_without_label_may_hold_nan():
    outputs = tf.constant([[np.nan, np.inf, 0.0], [0.0, 0.0, 0.0]])
    head = Classification(3, class_weights=[1, 2, 3], label_smoothing=0.1, focal=0.5)
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        loss_sum, weight_sum = head.loss(np.array([-1, 1]), outputs, np.array([0.0, 1.0]), {})
    np.testing.assert_allclose(weight_sum, 2.0)
    assert np.isfinite(float(loss_sum))
    gradient = tape.gradient(loss_sum, outputs).numpy()
    assert gradient[0].tolist() == [0, 0, 0]
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("wrong", [3, -1])
def test_a_labelled_row_of_no_class_is_an_error(wrong):
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"(?s)Expected class ids from 0 to 2 for head .*{wrong}"):
        sums(Classification(3), [0, wrong])


def test_one_hot_targets_of_other_classes_are_an_error():
    with pytest.raises(ValueError, match=r"has 3 classes; got targets of shape \(2, 2\)"):
        Classification(3).loss(np.eye(2, dtype="float32"), tf.zeros([2, 3]), np.ones(2, "float32"), {})


def test_decodes():
    head = Classification(["a", "b"])
    decoded = head.decode(np.array([0.25, 0.75], "float32"), *ABOUT)
    assert decoded == {"label": "b", "probability": 0.75, "probabilities": {"a": 0.25, "b": 0.75}}
    many = Classification(30)
    p = np.full(30, 0.01, "float32")
    p[[7, 3]] = 0.5, 0.22
    decoded = many.decode(p, *ABOUT)
    assert decoded["label"] == 7
    assert list(decoded["probabilities"])[:2] == ["7", "3"]
    assert len(decoded["probabilities"]) == 5
    json.dumps(decoded)


def test_activates_to_probabilities_in_float32():
    probabilities = Classification(3).activate(tf.cast(LOGITS, tf.bfloat16), {})
    assert probabilities.dtype == tf.float32
    np.testing.assert_allclose(probabilities, [[0.7, 0.2, 0.1], [0.1, 0.5, 0.4]], atol=1e-2)


def test_report_equals_scikit_learn():
    gold, guess = [1, 2, 0, 1, 2, 2], [1, 2, 1, 1, 0, 2]
    given = ["1", 2, "0", 1, 2.0, 2]
    result = Classification(4).report(given, [{"label": label} for label in guess], [EXAMPLE] * 6)
    precision, recall, f1, _ = precision_recall_fscore_support(gold, guess, average="macro", zero_division=0)
    right = 4 / 6
    assert result == pytest.approx(
        {
            "accuracy": right,
            "macro_f1": f1,
            "macro_precision": precision,
            "macro_recall": recall,
            "micro_f1": right,
            "micro_precision": right,
            "micro_recall": right,
            "mcc": matthews_corrcoef(gold, guess),
        }
    )


def test_report_of_each_class_and_of_a_single_class():
    head = Classification(["a", "b"])
    result = head.report(["a", "a", "b"], [{"label": label} for label in "abb"], [EXAMPLE] * 3, per_class=True)
    assert (result["f1:a"], result["f1:b"]) == pytest.approx((2 / 3, 2 / 3))
    alone = head.report(["a"], [{"label": "a"}], [EXAMPLE])
    assert (alone["accuracy"], alone["mcc"]) == (1, 0)


def test_report_equals_the_metrics_in_the_graph():
    rng = np.random.default_rng(0)
    gold, logits = rng.integers(0, 3, 50), rng.normal(size=(50, 3)).astype("float32")
    head = Classification(3)
    metric = head.make_metrics()["confusion"]
    metric.update_state(gold, logits, np.ones(50), {})
    predicted = [head.decode(p, *ABOUT) for p in head.activate(logits, {}).numpy()]
    report = head.report(gold.tolist(), predicted, [EXAMPLE] * 50)
    for name, value in metric.result().items():
        assert float(value) == pytest.approx(report[name], abs=1e-6), name


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_gives_float32_under_mixed_precision(policy):
    head = Classification(3, hidden=4, dtype=policy)
    symbolic = head({"pooled": keras.KerasTensor((None, 8), "float16")})
    assert (symbolic.shape, symbolic.dtype) == ((None, 3), "float32")
    assert head({"pooled": np.ones((2, 8), "float32")}).dtype == "float32"


def test_reads_the_features_asked_for():
    head = Classification(3, features="mine", dropout=0.0)
    features = {"pooled": np.zeros((2, 8), "float32"), "mine": np.ones((2, 4), "float32")}
    np.testing.assert_array_equal(head(features), head.readout(features["mine"]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": ["only"]}, "Classification needs at least two labels, got \\['only'\\]"),
        ({"labels": ["a", "a"]}, "Labels must differ"),
        ({"labels": 3, "class_weights": [1, 2]}, "`class_weights` takes one number for each of 3 labels, got 2"),
        ({"labels": ["a", "b"], "class_weights": {"c": 1}}, "Unknown label 'c'"),
        ({"class_weights": "balance"}, "Unknown class weights 'balance'; did you mean 'balanced'[?]"),
        ({"label_smoothing": 1.0}, "`label_smoothing` as a number from 0 to below 1; got 1.0"),
        ({"focal": -1}, "`focal` as a finite number from 0; got -1"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Classification(**arguments)


def test_bad_labels():
    head = Classification(["sports", "politics"])
    with pytest.raises(ValueError, match="Unknown label 'sprots'; did you mean 'sports'[?]"):
        head.encode("sprots", *ABOUT)
    with pytest.raises(ValueError, match="A label is a string or a finite number, got \\['sports'\\]"):
        head.encode(["sports"], *ABOUT)
    with pytest.raises(ValueError, match="needs at least one label, got none"):
        Classification().learn([])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({}, "does not know its labels yet: pass `labels`"), ({"labels": 2, "class_weights": "balanced"}, "its class weights yet")],
)
def test_not_ready(arguments, message):
    with pytest.raises(ValueError, match=message):
        Classification(**arguments)({"pooled": np.ones((2, 8), "float32")})


def test_unknown_features():
    with pytest.raises(ValueError, match="Unknown features 'poled'; did you mean 'pooled'[?]"):
        Classification(3, features="poled")({"pooled": np.ones((2, 8), "float32")})


def test_ngrams_are_read_beside_the_features():
    head = Classification(2, ngrams=2, dropout=0.0)
    features = {
        "pooled": np.ones((2, 3), "float32"),
        "token_ids": np.array([[4, 9, 4], [9, 4, 0]]),
        "padding_mask": np.array([[1, 1, 1], [1, 1, 0]]),
    }
    plain = head(features).numpy()
    np.testing.assert_allclose(plain[0], plain[1], rtol=1e-6)  # No n-gram has said anything yet.
    head.phrases.table.embeddings.assign(np.random.default_rng(0).normal(size=head.phrases.table.embeddings.shape))
    found = head.phrases(features["token_ids"], features["padding_mask"])
    np.testing.assert_allclose(head(features), plain + found, rtol=1e-5)
    assert np.abs(found[0] - found[1]).max() > 0.1
    assert Classification.from_config(head.get_config()).ngrams == 2


def test_ngrams_take_the_arguments_of_their_layer():
    head = Classification(2, ngrams={"order": 2, "dropout": 0.5, "buckets": 100})
    head.build({"pooled": (None, 4), "token_ids": (None, None), "padding_mask": (None, None)})
    assert (head.phrases.order, head.phrases.dropout, head.phrases.buckets) == (2, 0.5, 100)
    assert Classification.from_config(head.get_config()).ngrams == {"order": 2, "dropout": 0.5, "buckets": 100}


def test_a_label_that_training_never_saw():
    with pytest.raises(
        ValueError, match="Unknown label 'bed'; did you mean 'bad'.* Give the head all labels, .*or unknown='ignore'"
    ):
        Classification(["bad", "good"]).encode("bed", *ABOUT)
    head = Classification(["bad", "good"], unknown="ignore")
    assert head.encode("bed", *ABOUT) == (0, 0.0) and head.encode("good", *ABOUT) == (1, 1.0)
    assert Classification.from_config(head.get_config()).unknown == "ignore"
    with pytest.raises(ValueError, match="Unknown way with unknown labels 'skip'"):
        Classification(2, unknown="skip")
