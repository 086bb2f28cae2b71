"""Gradients by rows against those of all rows at once."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtl import MultiTaskModel, Task
from mtl.balancing import PCGrad, SDMGrad
from mtl.data import Tokenizer
from mtl.encoders import Recurrent
from mtl.heads import Classification, MaskedLM, Regression, Tagging
from mtl.sharing import Hard
from mtl.training.gradients.dependencies import dependencies_of
from mtl.training.gradients.gradients_by_rows import GradientsByRows, dense_gradients
from mtl.training.gradients.row_gradients import RowGradients
from mtl.training.gradients.task_gradients import TaskGradients
from mtl.training.keras_internals.layers import layers_in
from mtl.training.scoring import Batch, score
from tests.tiny import Bag
from tests.two_tasks import batch, make_model

ROWS = {
    "each its own": ([1, 1, 0, 0, 1, 0], [0, 0, 1, 2, 0, 0.5]),
    "all shared": ([1, 1, 2, 1, 1, 1], [1, 1, 1, 2, 1, 0.5]),
    "of both kinds": ([1, 0, 2, 0, 1, 1], [1, 1, 0, 0, 1, 0.5]),
    "one task's only": ([1, 0, 2, 0, 1, 1], [0, 0, 0, 0, 0, 0]),
    "none": ([0] * 6, [0] * 6),
}


def whole_rows(rows, variables, tasks=2):
    """The gradients of variables, those that are slices made whole."""
    return [
        each.dense(tasks, v.shape[0]) if isinstance(each, RowGradients) else each for each, v in zip(rows, variables, strict=True)
    ]


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize(
    "top_layers, slices", [(0, False), (0, True), (1, True)], ids=["one encoder", "slices", "tops of their own"]
)
@pytest.mark.parametrize("mood, score_", ROWS.values(), ids=ROWS)
def test_the_sums_are_those_of_all_rows(mood, score_, top_layers, slices, graph):
    model = make_model("sgd", sharing=Hard(top_layers), top=bool(top_layers))
    rows = Batch.of(model, batch(6, mood=mood, score=score_))
    shared, own = model.parts()["trunk"].layer.trainable_variables, {}
    for task in model.task_names:
        own[task] = [v for part in model.parts().values() if part.tasks == (task,) for v in part.layer.trainable_variables]
    seeds = {"mood": tf.constant(0.5), "score": tf.constant(2.0)}
    by_rows = GradientsByRows(model, dependencies_of(model), shared, own, slices)
    of = (
        tf.function(lambda: by_rows.compute(rows, seeds, False), autograph=False)
        if graph
        else lambda: by_rows.compute(rows, seeds, False)
    )
    scores, rows_shared, rows_own = of()
    assert isinstance(rows_shared[0], RowGradients) == slices
    rows_shared = whole_rows(rows_shared, shared)
    with tf.GradientTape(persistent=True) as tape:
        whole = score(model, rows, False)
    for place, task in enumerate(model.task_names):
        np.testing.assert_allclose(scores.losses[task], whole.losses[task], rtol=1e-5)
        np.testing.assert_allclose(scores.weights[task], whole.weights[task])
        for mine, expected, metric in zip(
            scores.statistics[task], whole.statistics[task], model.task_metrics[task].values(), strict=True
        ):
            # Those that do not add up may have another centre: they amount to the same.
            mine, expected = (metric.merge(np.asarray(each, "float64")[None]) for each in (mine, expected))
            np.testing.assert_allclose(mine, expected, rtol=1e-5, atol=1e-6)
        values = [v.value for v in (*shared, *own[task])]
        expected = tape.gradient(whole.losses[task], values, output_gradients=seeds[task])
        for mine, gradient in zip([*(each[place] for each in rows_shared), *rows_own[task]], expected, strict=True):
            np.testing.assert_allclose(mine, tf.reshape(tf.convert_to_tensor(gradient), mine.shape), atol=1e-6)


class Twice(Hard):
    """Gives one feature under two names."""

    def trunk(self, inputs, training=None):
        shared = super().trunk(inputs, training)
        return {**shared, "again": shared["pooled"]}


@pytest.mark.parametrize("mood, score_", ROWS.values(), ids=ROWS)
def test_a_feature_of_two_names_counts_once(mood, score_):
    rows = batch(6, mood=mood, score=score_)
    found = [TaskGradients(make_model("sgd", PCGrad(), sharing)).step(rows).conflicts for sharing in (Hard(), Twice())]
    once, twice = (conflicts[0] for conflicts in found if conflicts is not None)
    np.testing.assert_allclose(once, twice, rtol=1e-6)


@pytest.mark.parametrize("kind", ["own", "shared", "both"])
def test_heads_that_share_weights_of_the_encoder(kind):
    """Hidden tokens are predicted by the embeddings themselves, and attention pools for one task alone."""
    keras.utils.set_random_seed(3)
    encoder = Recurrent(Tokenizer.learn("character", ["abcdefgh"]), embedding=4, units=3, pooling="attention")
    tasks = [Task("hidden", MaskedLM()), Task("mood", Classification(3, dropout=0.0)), Task("tags", Tagging(2, dropout=0.0))]
    model = MultiTaskModel(encoder, tasks, balancer=PCGrad())
    model.compile("sgd")
    rng = np.random.default_rng(0)
    ids = rng.integers(5, 10, (6, 5)).astype("int32")
    weight = {"hidden": [1, 1, 0, 0, 0, 0], "mood": [0, 0, 1, 1, 0, 0], "tags": [0, 0, 0, 0, 1, 1]}
    if kind != "own":
        weight["mood"] = [1] * 6
    if kind == "shared":
        weight["tags"] = [1] * 6
    y = {"hidden": ids, "mood": rng.integers(0, 3, 6), "tags": rng.integers(0, 2, (6, 5))}
    rows = Batch.of(model, ({"token_ids": ids}, y, {task: np.array(each, "float32") for task, each in weight.items()}))
    seeds = {"hidden": tf.constant(0.5), "mood": tf.constant(2.0), "tags": tf.constant(1.0)}
    engine = TaskGradients(model)
    found = tf.function(lambda: engine.gradients.compute(rows, seeds, False), autograph=False)()
    with tf.GradientTape(persistent=True) as tape:
        whole = score(model, rows, False)
    names = {v.path for v in engine.task_specific["mood"]}
    assert any(name.startswith("pooling") for name in names)
    for place, task in enumerate(model.task_names):
        values = [v.value for v in (*engine.shared, *engine.task_specific[task])]
        expected = tape.gradient(whole.losses[task], values, output_gradients=seeds[task])
        given = [*(each[place] for each in whole_rows(found.shared, engine.shared, 3)), *found.task_specific[task]]
        for mine, gradient in zip(given, expected, strict=True):
            gradient = tf.zeros(mine.shape) if gradient is None else tf.reshape(tf.convert_to_tensor(gradient), mine.shape)
            np.testing.assert_allclose(mine, gradient, rtol=1e-6, atol=1e-6)


class Named(Classification):
    """Classes whose vectors are rows of the encoder's embeddings, which the encoder itself only looks up."""

    def call(self, features, training=None):
        return super().call(features, training=training) + features["pooled"] @ keras.ops.transpose(self.table()[:3])


@pytest.mark.parametrize("hidden", [False, True], ids=["seen", "not seen"])
@pytest.mark.parametrize("mood, score_", ROWS.values(), ids=ROWS)
def test_heads_that_use_a_table(mood, score_, hidden):
    """Its gradients are right where the head's use is seen, and where it is not."""
    model = make_model("sgd", PCGrad())
    model.heads["mood"].__class__, model.heads["mood"].table = Named, lambda: model.encoder.embedding.embeddings
    reached = dependencies_of(model)
    assert not reached.lookup_tables
    reached = reached._replace(lookup_tables=[model.encoder.embedding.embeddings] if hidden else [])
    rows = Batch.of(model, batch(6, mood=mood, score=score_))
    shared, seeds = model.encoder.trainable_variables, {"mood": tf.constant(0.5), "score": tf.constant(2.0)}
    by_rows = GradientsByRows(model, reached, shared, {"mood": [], "score": []}, sparse=True)
    found = tf.function(lambda: by_rows.compute(rows, seeds, False), autograph=False)()
    assert isinstance(found.shared[0], RowGradients) == hidden
    with tf.GradientTape(persistent=True) as tape:
        losses = score(model, rows, False).losses
    for place, task in enumerate(model.task_names):
        expected = tf.convert_to_tensor(tape.gradient(losses[task], shared[0].value, output_gradients=seeds[task]))
        np.testing.assert_allclose(whole_rows(found.shared, shared)[0][place], tf.reshape(expected, [-1]), atol=1e-6)


def test_the_encoder_is_traced_as_often_for_many_tasks(monkeypatch):
    """Once for rows of one task, and once for rows of several."""
    tasks = [Task(f"task_{number}", Classification(3)) for number in range(5)]
    model = MultiTaskModel(Bag(), tasks, balancer=PCGrad())
    model.compile("sgd")
    x, _, _ = batch(6)
    y = {task.name: np.zeros(6, "int32") for task in tasks}
    weight = {task.name: np.eye(6, dtype="float32")[number] for number, task in enumerate(tasks)}
    whole, traces = model.trunk, []

    def counted(x, training):
        traces.append(sorted(x))
        return whole(x, training)

    monkeypatch.setattr(model, "trunk", counted)
    model.fit(x, y, sample_weight=weight, batch_size=6, epochs=2, verbose=0)
    assert len(traces) == 3  # The first finds what the tasks depend on.


def test_no_work_is_done_where_there_are_no_rows(monkeypatch):
    """A row goes through the encoder once; a task without rows of its own, not at all."""
    model = make_model("sgd")
    reached, seen = dependencies_of(model), []
    whole = model.trunk

    def counted(x, training):
        seen.append(len(x["token_ids"]))
        return whole(x, training)

    monkeypatch.setattr(model, "trunk", counted)
    seeds = {"mood": tf.constant(1.0), "score": tf.constant(1.0)}
    rows = Batch.of(model, batch(6, mood=[1, 1, 0, 1, 0, 0], score=[0, 0, 0, 1, 0, 0]))
    GradientsByRows(model, reached, model.encoder.trainable_variables, {"mood": [], "score": []}).compute(rows, seeds, False)
    assert seen == [1, 2]  # The row of both tasks, and those of one; no others.


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
    # A head is traced for rows of its own and for those of both, and each task may come to be in its turn: two epochs' draws.
    assert [count for _, count in states[0]] == [8, 8]


def test_of_an_embedding_only_the_rows_of_the_batch_are_compared():
    """And the step is that of the whole gradients."""
    data, steps, sizes = batch(6), [], []
    for slices in (True, False):
        model = make_model("sgd", PCGrad())
        engine = TaskGradients(model)
        if not slices:
            engine.gradients.tables.clear()
        seeds = {task: tf.constant(1.0) for task in model.task_names}
        sizes.append(engine._at_parameters(Batch.of(model, data), seeds).compared[0].shape.as_list())
        steps.append(engine.step(data))
    assert sizes == [[2, len(np.unique(data[0]["token_ids"])) * 6], [2, 20 * 6]]
    for a, b in zip(*map(keras.tree.flatten, steps), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "balancer, compiled, slices", [(PCGrad(), False, True), (PCGrad(), True, False), (SDMGrad(), False, False)]
)
def test_where_shapes_are_static_and_where_batches_are_two_gradients_are_whole(balancer, compiled, slices):
    model = make_model("sgd", balancer)
    model.compile("sgd", jit_compile=compiled)
    assert bool(TaskGradients(model).gradients.tables) == slices
