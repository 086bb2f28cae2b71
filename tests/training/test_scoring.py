import numpy as np
import pytest

from mtl import MultiTaskModel, Task
from mtl.heads import Tagging
from mtl.training.scoring import Batch, penalty, score, total
from tests.tiny import Bag
from tests.two_tasks import batch, make_model


def test_a_batch_is_what_the_model_takes_in_its_order():
    model = make_model("sgd")
    x, y, weight = batch(3, mood=[1, 0, 2])
    found = Batch.of(model, (x, {"score": y["score"], "mood": y["mood"]}, {"mood": weight["mood"]}))
    assert list(found.y) == ["mood", "score"] and set(found.x) == {"token_ids", "padding_mask"}
    assert {task: each.numpy().tolist() for task, each in found.weights.items()} == {"mood": [1, 0, 2], "score": [1, 1, 1]}
    assert {task: each.numpy().tolist() for task, each in found.labelled().items()} == {
        "mood": [True, False, True],
        "score": [True, True, True],
    }


@pytest.mark.parametrize("weights", [None, [1.0, 1.0], [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]], ids=["none", "rows", "tokens"])
def test_padding_weighs_nothing(weights):
    model = MultiTaskModel(Bag(), [Task("tags", Tagging(3))])
    x, y = {"token_ids": np.array([[3, 4, 0], [5, 0, 0]])}, {"tags": np.zeros((2, 3), "int32")}
    found = Batch.of(model, (x, y, {"tags": None if weights is None else np.array(weights)}))
    assert found.weights["tags"].numpy().tolist() == [[1, 1, 0], [1, 0, 0]]


def test_rows_are_taken_with_their_targets():
    model = make_model("sgd")
    x, y, weight = batch(4)
    some = Batch.of(model, (x, y, weight)).take([3, 1], ["score"])
    assert list(some.y) == ["score"] and some.x["token_ids"].numpy().tolist() == x["token_ids"][[3, 1]].tolist()
    np.testing.assert_array_equal(some.y["score"], y["score"][[3, 1]])


def test_scores_of_parts_add_up_to_those_of_the_whole():
    model = make_model("sgd")
    whole = Batch.of(model, batch(6, mood=[1, 0, 2, 1, 0, 1], score=[0, 1, 1, 0.5, 0, 0]))
    parts = [whole.take(rows, ["mood", "score"]) for rows in ([0, 5], [1, 2, 3, 4], np.zeros(0, "int32"))]
    one, *several = (score(model, each, False) for each in (whole, *parts))
    for task in ("mood", "score"):
        assert float(one.losses[task]) == pytest.approx(sum(float(each.losses[task]) for each in several), rel=1e-5)
        assert float(one.weights[task]) == pytest.approx(sum(float(each.weights[task]) for each in several))
        for i, statistic in enumerate(one.statistics[task]):
            np.testing.assert_allclose(statistic, sum(each.statistics[task][i] for each in several), rtol=1e-5)


def test_totals_count_rows_tokens_and_places():
    model = make_model("sgd")
    x, y, weight = batch(3, mood=[1, 0, 2])
    x["token_ids"][0, 2:] = 0
    rows = Batch.of(model, (x, {"mood": y["mood"]}, {"mood": weight["mood"]}))
    totals = total(model, rows, score(model, rows, False), penalty(model))
    assert totals.counts.numpy().tolist() == [2, 0, 3, 12, 15]  # Rows of either task, rows, tokens, positions.
    assert totals.active.numpy().tolist() == [True, False] and float(totals.penalty) == 0.0
    assert totals.means.numpy()[1] == 0.0
