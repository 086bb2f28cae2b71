import numpy as np
import pytest

from mtl import MultiTaskModel, Task
from mtl.balancing import Static
from mtl.heads import Classification, Tagging
from mtl.training.losses import TaskLosses
from tests.tiny import Bag


def test_sums_over_steps_by_hand():
    losses = TaskLosses(["a", "b"])
    losses.accumulate(np.array([6.0, 0.0]), np.array([2.0, 0.0]), 3.0, np.array([2.0, 0.0, 2.0, 8.0, 10.0]))
    losses.accumulate(np.array([0.0, 5.0]), np.array([1.0, 10.0]), 1.0, np.array([1.0, 4.0, 6.0, 7.0, 10.0]))
    assert {name: float(value) for name, value in losses.result().items()} == {"loss": 2.0, "a_loss": 2.0, "b_loss": 0.5}
    shares, padding = losses.realised()
    assert shares == {"a": 3 / 8, "b": 4 / 8}
    assert padding == pytest.approx(1 - 15 / 20)
    balancer = Static({"a": 3.0})
    balancer.bind(["a", "b"])
    losses.combine_by(balancer)
    assert float(losses.result()["loss"]) == 3 * 2 + 0.5 + (3 + 1) / 2


def test_nothing_seen():
    losses = TaskLosses(["a"])
    assert losses.realised() == ({"a": 0.0}, 0.0)
    assert {name: float(value) for name, value in losses.result().items()} == pytest.approx(
        {"loss": float("nan"), "a_loss": float("nan")}, nan_ok=True
    )


def test_a_step_that_is_left_out_counts_for_nothing():
    losses = TaskLosses(["a"])
    losses.accumulate(np.array([6.0]), np.array([2.0]), 3.0, np.array([2.0, 2.0, 8.0, 10.0]))
    losses.accumulate(np.zeros(1), np.zeros(1), 0.0, np.zeros(4))
    losses.combine_by(Static())
    assert float(losses.result()["loss"]) == 3.0 + 3.0


def test_counts_beyond_what_float32_counts():
    losses = TaskLosses(["a"])
    for tokens in (2.0**24, 1.0, 1.0):
        losses.accumulate(np.array([1.0], "float32"), np.array([tokens], "float32"), 0.0, np.array([tokens, 1.0, tokens, tokens]))
    assert losses.rows().tolist() == [2**24 + 2] and losses.weights.numpy().tolist() == [2.0**24 + 2]


def test_the_engine_counts_rows_and_tokens():
    model = MultiTaskModel(Bag(), [Task("mood", Classification(2)), Task("tags", Tagging(3)), Task("none", Classification(2))])
    model.compile("sgd")
    token_ids = np.array([[1, 2, 3, 0], [4, 0, 0, 0], [5, 6, 0, 0], [7, 8, 9, 1], [2, 3, 0, 0]], "int32")
    y = {"mood": np.zeros(5, "int32"), "tags": np.zeros((5, 4), "int32")}
    # A row counts once, whatever its weight and however many of its tokens have one.
    weight = {"mood": np.array([1, 0, 0.5, 2, 0], "float32"), "tags": np.zeros((5, 4), "float32")}
    weight["tags"][3, :3] = 1.0
    for pass_over in (model.fit, model.evaluate):
        pass_over({"token_ids": token_ids}, y, sample_weight=weight, batch_size=2, verbose=0)
        shares, padding = model.task_losses.realised()
        assert shares == pytest.approx({"mood": 3 / 5, "tags": 1 / 5, "none": 0.0})
        assert padding == pytest.approx(8 / 20)
