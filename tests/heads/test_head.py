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
    assert (Target().shape, Target().dtype) == ((), "int32")


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


def test_what_a_head_must_say():
    example, encoding = Example("a"), Encoding(np.zeros(1, "int32"), np.zeros(1, "int32"), np.zeros((1, 2), "int32"), "a")
    head = Head()
    for call in (
        lambda: head.target,
        lambda: head.encode("a", example, encoding),
        lambda: head.decode(np.zeros(1), example, encoding),
        lambda: head.report([], [], []),
        lambda: head.call({}),
        lambda: head.loss(None, None, None, {}),
        lambda: head.serve(None, {}),
    ):
        with pytest.raises(NotImplementedError):
            call()
