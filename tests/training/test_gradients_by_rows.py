"""Gradients by rows against those of all rows at once."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtl import MultiTaskModel, Task
from mtl.balancing import PCGrad
from mtl.heads import Classification, Regression
from mtl.training.gradients_by_rows import GradientsByRows, dense_gradients
from mtl.training.scoring import Batch, score
from mtl.training.seam import layers_in
from tests.tiny import Bag
from tests.two_tasks import batch, make_model

ROWS = {
    "each its own": ([1, 1, 0, 0, 1, 0], [0, 0, 1, 2, 0, 0.5]),
    "all shared": ([1, 1, 2, 1, 1, 1], [1, 1, 1, 2, 1, 0.5]),
    "of both kinds": ([1, 0, 2, 0, 1, 1], [1, 1, 0, 0, 1, 0.5]),
    "one task's only": ([1, 0, 2, 0, 1, 1], [0, 0, 0, 0, 0, 0]),
    "none": ([0] * 6, [0] * 6),
}


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("mood, score_", ROWS.values(), ids=ROWS)
def test_the_sums_are_those_of_all_rows(mood, score_, graph):
    model = make_model("sgd")
    rows = Batch.of(model, batch(6, mood=mood, score=score_))
    variables = {task: [*model.encoder.trainable_variables, *model.heads[task].trainable_variables] for task in model.task_names}
    seeds = {"mood": tf.constant(0.5), "score": tf.constant(2.0)}
    by_rows = GradientsByRows(model, variables)
    of = tf.function(lambda: by_rows.of(rows, seeds, False), autograph=False) if graph else lambda: by_rows.of(rows, seeds, False)
    scores, gradients = of()
    with tf.GradientTape(persistent=True) as tape:
        whole = score(model, rows, False)
    for task in model.task_names:
        np.testing.assert_allclose(scores.losses[task], whole.losses[task], rtol=1e-5)
        np.testing.assert_allclose(scores.weights[task], whole.weights[task])
        for mine, expected in zip(scores.statistics[task], whole.statistics[task], strict=True):
            np.testing.assert_allclose(mine, expected, rtol=1e-5, atol=1e-6)
        expected = tape.gradient(whole.losses[task], [v.value for v in variables[task]], output_gradients=seeds[task])
        for mine, gradient in zip(gradients[task], expected, strict=True):
            np.testing.assert_allclose(mine, tf.convert_to_tensor(gradient), atol=1e-6)


def test_no_work_is_done_where_there_are_no_rows(monkeypatch):
    """A row goes through the encoder once; a task without rows of its own, not at all."""
    model = make_model("sgd")
    seen = []
    whole = model.features_of

    def counted(x, tasks, training):
        seen.append((len(x["token_ids"]), list(tasks)))
        return whole(x, tasks, training)

    monkeypatch.setattr(model, "features_of", counted)
    seeds = {"mood": tf.constant(1.0), "score": tf.constant(1.0)}
    variables = dict.fromkeys(model.task_names, list(model.encoder.trainable_variables))
    GradientsByRows(model, variables).of(
        Batch.of(model, batch(6, mood=[1, 1, 0, 1, 0, 0], score=[0, 0, 0, 1, 0, 0])), seeds, False
    )
    assert seen == [(2, ["mood"]), (1, ["mood", "score"])]


def test_what_is_not_reached_has_gradients_of_zero():
    one, other = tf.Variable([1.0, 2.0]), tf.Variable([3.0])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.gather(one, [1, 1]))
    found = dense_gradients(tape, loss, [one, other], tf.constant(2.0))
    assert [each.numpy().tolist() for each in found] == [[0.0, 4.0], [0.0]]


def test_random_numbers_do_not_depend_on_which_tasks_have_rows():
    """Replicas have other rows, and draw as often."""
    states = []
    for score_ in ([0] * 6, [0, 0, 1, 2, 0, 0.5]):
        keras.utils.set_random_seed(1)
        tasks = [Task("mood", Classification(3, dropout=0.5)), Task("score", Regression(mean=0.0, scale=1.0, dropout=0.5))]
        model = MultiTaskModel(Bag(), tasks, balancer=PCGrad())
        model.compile("sgd")
        x, y, weight = batch(6, mood=[1, 1, 0, 0, 1, 0], score=score_)
        model.fit(x, y, sample_weight=weight, epochs=2, verbose=0)
        states.append([g.state.numpy().tolist() for layer in layers_in(model) for g in layer._seed_generators])
    assert states[0] == states[1]
    # The head of one task is traced for rows of its own and for those of both, and so draws twice a step.
    assert [count for _, count in states[0]] == [4, 4]
