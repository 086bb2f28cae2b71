import json

import numpy as np
import pytest

from mtl.balancing import DBMTL, MGDA, Static, diagnose
from mtl.sharing import Soft
from tests.training.gradients.test_task_gradients import MOOD, SCORE, by_numpy
from tests.two_tasks import batch, make_model


def numbers(model, data):
    losses, _, jacobian, _ = by_numpy(model, *data)
    return losses, jacobian


@pytest.mark.parametrize("balancer", [Static({"mood": 3.0}), MGDA(), DBMTL()], ids=lambda each: type(each).__name__)
def test_gradients_and_affinities_are_those_of_numpy(balancer):
    model = make_model("sgd", balancer)
    data = batch(mood=MOOD, score=SCORE)
    before = model.get_weights()
    found = diagnose(model, [data], learning_rate=0.2)
    losses, jacobian = numbers(model, data)
    norms = np.linalg.norm(jacobian, axis=1)
    np.testing.assert_allclose(found.losses, losses, rtol=1e-5)
    np.testing.assert_allclose(found.norms, norms, rtol=1e-5)
    np.testing.assert_allclose(found.cosines, jacobian @ jacobian.T / np.outer(norms, norms), atol=1e-5)
    assert found.conflicting[0, 1] == float(found.cosines[0, 1] < 0)
    if isinstance(balancer, Static):
        update = 3.0 * jacobian[0] + jacobian[1]
    else:
        update = type(balancer)().aggregate(jacobian, losses=losses).numpy()
    np.testing.assert_allclose(found.update, jacobian @ update / norms / np.linalg.norm(update), atol=1e-5)
    for i in range(2):  # A step of each task, by hand.
        moved = make_model("sgd")
        for mine, theirs in zip(moved.heads.values(), model.heads.values(), strict=True):
            mine.set_weights(theirs.get_weights())
        (table,) = model.encoder.get_weights()
        moved.encoder.set_weights([table - 0.2 * jacobian[i].reshape(table.shape)])
        np.testing.assert_allclose(found.affinities[i], 1 - numbers(moved, data)[0] / losses, atol=1e-5)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_means_are_over_the_batches_in_which_tasks_were_seen():
    model = make_model("sgd")
    both, mood = batch(seed=1), batch(seed=2, score=np.zeros(8))
    found = diagnose(model, [both, mood, batch(seed=3)], batches=2)
    first, second = numbers(model, both)[0], numbers(model, mood)[0]
    np.testing.assert_allclose(found.losses, [(first[0] + second[0]) / 2, first[1]], rtol=1e-5)
    assert np.isfinite(found.affinities).all()


def test_a_batch_that_is_not_finite_is_left_out_of_the_means():
    model = make_model("sgd")
    good, bad = batch(seed=1), batch(seed=2)
    bad[1]["score"][0] = np.inf
    found = diagnose(model, [good, bad])
    assert found.losses[1] == pytest.approx(numbers(model, good)[0][1], rel=1e-5)
    assert found.losses[0] == pytest.approx((numbers(model, good)[0][0] + numbers(model, bad)[0][0]) / 2, rel=1e-5)
    assert "nan" not in str(diagnose(model, [batch(score=np.zeros(8))]))


def test_it_reads_as_a_table_a_picture_and_json(tmp_path):
    model = make_model("sgd")
    found = diagnose(model, [batch(score=np.zeros(8))])
    assert "mood" in str(found) and "groups: mood; score" in str(found)
    values = json.loads(json.dumps(found.as_dict()))
    assert values["tasks"] == ["mood", "score"] and values["cosines"][0][1] is None and values["groups"] == [["mood"], ["score"]]
    found.save_picture(tmp_path / "found.png")
    assert (tmp_path / "found.png").read_bytes().startswith(b"\x89PNG") and len(list(tmp_path.iterdir())) == 1
    assert found.picture().ndim == 3


def test_errors():
    with pytest.raises(ValueError, match="at least one batch with a labelled row"):
        diagnose(make_model("sgd"), [])
    with pytest.raises(ValueError, match="share none that is trained"):
        diagnose(make_model("sgd", sharing=Soft(0.1)), [batch()])
    for wrong in ({"batches": 0}, {"batches": 1.5}, {"groups": 0}, {"learning_rate": float("nan")}):
        with pytest.raises(ValueError, match="diagnose expects `(batches|learning_rate|groups)` as a .*; got "):
            diagnose(make_model("sgd"), [batch()], **wrong)
    with pytest.raises(ValueError, match="Put one batch in a list"):
        diagnose(make_model("sgd"), batch())
    model = make_model("sgd").subset(["mood"])
    with pytest.raises(ValueError, match=r"the model has only \['mood'\]"):
        diagnose(model, [batch()])
