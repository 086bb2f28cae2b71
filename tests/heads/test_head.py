import numpy as np
import pytest
from keras import ops

from mtl.data import Encoding, Example
from mtl.heads import Head
from mtl.heads.head import Target


class Twice(Head):
    """Twice the first number of `pooled`, with a squared error."""

    def call(self, features, training=None):
        return 2.0 * features["pooled"][:, 0]

    def loss(self, target, outputs, weight, features):
        return ops.sum(weight * (outputs - target) ** 2), ops.sum(weight)


def test_targets():
    assert Target(("tokens",)).per_token and not Target(()).per_token and not Target((3,)).per_token
    assert (Target().axes, Target().dtype) == ((), "int32")


def test_the_score_is_the_loss_of_the_call():
    features = {"pooled": np.array([[1.0], [2.0], [3.0]], "float32")}
    target, weight = np.array([1.0, 7.0, 6.0], "float32"), np.array([1.0, 0.5, 0.0], "float32")
    loss_sum, weight_sum, outputs = Twice().score(target, weight, features, training=True)
    assert np.asarray(outputs).tolist() == [2.0, 4.0, 6.0]
    assert (float(loss_sum), float(weight_sum)) == (1.0 + 0.5 * 9.0, 1.5)


def test_what_a_head_need_not_say():
    head = Twice()
    assert head.ready and head.predicts and not head.corrupts_inputs and head.make_metrics() == {}
    assert head.activate("outputs", {}) == "outputs"
    x = {"token_ids": np.ones((1, 2), "int32")}
    head.learn(["a"])
    head.attach(None)
    head.prepare_batch(x, np.zeros(1), np.ones(1), np.random.default_rng(0))
    assert x["token_ids"].tolist() == [[1, 1]]


class Graded(Head):
    def __init__(self, grades, step=1, **kwargs):
        super().__init__(**kwargs)
        self.grades, self.step = grades, step


class Forgetful(Head):
    def __init__(self, grades, **kwargs):
        super().__init__(**kwargs)


def test_arguments_are_saved():
    config = Graded(5, step=2, missing=-1, name="g").get_config()
    assert (config["grades"], config["step"], config["missing"], config["name"]) == (5, 2, -1, "g")
    again = Graded.from_config(config)
    assert (again.grades, again.step, again.missing) == (5, 2, -1)
    with pytest.raises(
        AttributeError, match="Forgetful expects its argument `grades` as an attribute.*Write self.grades = grades"
    ):
        Forgetful(5).get_config()


def test_accuracy_is_the_report_of_a_head_that_has_none():
    examples = [Example("a", weight=3.0), Example("b"), Example("c")]
    predicted = [{"stars": 3, "p": 0.5}, {"stars": 4}, {"stars": 5}]
    # Rows of weight 3, 1 and 1, of which the first and the last are right: 4 of 5.
    assert Head().report(["3", 5, 5.0], predicted, examples) == {"accuracy": 0.8}
    assert Head().report([["x"], ["y"]], [{"names": ["x"]}, {"names": []}], []) == {"accuracy": 0.5}
    assert Head().report([], [], []) == {} and Head().target == Target()


def test_what_a_head_must_say():
    example, encoding = Example("a"), Encoding(np.zeros(1, "int32"), np.zeros(1, "int32"), np.zeros((1, 2), "int32"), "a")
    head = Head()
    for call in (
        lambda: head.encode("a", example, encoding),
        lambda: head.decode(np.zeros(1), example, encoding),
        lambda: head.call({}),
        lambda: head.loss(None, None, None, {}),
        lambda: head.serve(None, {}),
    ):
        with pytest.raises(NotImplementedError):
            call()
