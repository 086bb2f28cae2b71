import keras
import numpy as np
import pytest
import tensorflow as tf

from mtl import MultiTaskModel, Task
from mtl.balancing import Static
from mtl.encoders import Recurrent
from mtl.heads import Classification, Regression, Tagging
from mtl.sharing import Soft
from mtl.training.task_variables import slots_of
from tests.two_tasks import batch, make_model


def numpy_losses(model, x, y, weight):
    """Both losses from the weights, by NumPy alone."""
    embedding = model.encoder.embedding.get_weights()[0].astype(np.float64)
    pooled = embedding[x["token_ids"]].mean(axis=1)
    kernel, bias = model.heads["mood"].get_weights()
    logits = pooled @ kernel + bias
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    mood = -(weight["mood"] * log_p[np.arange(len(pooled)), y["mood"]]).sum() / weight["mood"].sum()
    kernel, bias = model.heads["score"].get_weights()
    error = (pooled @ kernel + bias)[:, 0] - y["score"]
    return mood, (weight["score"] * error**2).sum() / weight["score"].sum()


def test_losses_are_weighted_means_over_labelled_rows():
    model = make_model("sgd", Static({"mood": 2.0}))
    x, y, weight = batch(mood=[1, 0, 0, 2, 0, 0, 1, 0], score=[0, 0.5, 0, 0, 0, 0, 0, 1])
    mood, score = numpy_losses(model, x, y, weight)
    logs = model.evaluate(x, y, sample_weight=weight, verbose=0, return_dict=True)
    assert logs["mood_loss"] == pytest.approx(mood, rel=1e-5)
    assert logs["score_loss"] == pytest.approx(score, rel=1e-5)
    assert logs["loss"] == pytest.approx(2 * mood + score, rel=1e-5)


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_evaluation_does_not_depend_on_how_rows_fall_into_batches(batch_size):
    model = make_model("sgd")
    x, y, weight = batch(mood=[1, 0, 0, 1, 0, 0, 1, 0], score=[0, 1, 0, 0, 0, 0, 0, 1])
    mood, score = numpy_losses(model, x, y, weight)
    logs = model.evaluate(x, y, sample_weight=weight, batch_size=batch_size, verbose=0, return_dict=True)
    assert logs["loss"] == pytest.approx(mood + score, rel=1e-5)
    assert logs["mood_loss"] == pytest.approx(mood, rel=1e-5)


def test_filler_rows_change_nothing():
    x, y, weight = batch(rows=6, mood=[1, 1, 0, 0, 1, 0], score=[1, 0, 0, 1, 0, 0])
    one, two = make_model("sgd"), make_model("sgd")
    one.fit(x, y, sample_weight=weight, verbose=0)
    more = {"token_ids": np.concatenate([x["token_ids"], np.full((9, 5), 7, "int32")])}
    filled = {name: np.concatenate([value, np.full(9, 2 if name == "mood" else 1e6, value.dtype)]) for name, value in y.items()}
    zeros = {name: np.concatenate([value, np.zeros(9, "float32")]) for name, value in weight.items()}
    two.fit(more, filled, sample_weight=zeros, verbose=0)
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-7)


@pytest.mark.parametrize("score", [1.0, 0.01], ids=["whole weights", "weights far below 1"])
def test_one_step_of_gradient_descent_is_that_of_the_summed_losses(score):
    model = make_model(keras.optimizers.SGD(0.1), Static({"score": 0.5}))
    x, y, weight = batch(mood=[1, 0, 0, 1, 0, 0, 1, 0], score=[score] * 8)
    kernel = model.heads["score"].get_weights()[0].astype(np.float64)
    pooled = model.encoder.embedding.get_weights()[0][x["token_ids"]].mean(axis=1).astype(np.float64)
    error = (pooled @ kernel)[:, 0] - y["score"]
    expected = kernel[:, 0] - 0.1 * 0.5 * (2 * error[:, None] * pooled).mean(axis=0)
    model.fit(x, y, sample_weight=weight, verbose=0, batch_size=8)
    np.testing.assert_allclose(model.heads["score"].get_weights()[0][:, 0], expected, atol=1e-6)


def test_a_token_that_comes_twice_has_one_gradient():
    """Adagrad sums the squares of gradients; gradient descent tells the gradients."""
    x, y, weight = batch()
    x["token_ids"][:] = 3
    sgd, adagrad = make_model(keras.optimizers.SGD(1.0)), make_model(keras.optimizers.Adagrad(1.0, initial_accumulator_value=0.5))
    before = sgd.encoder.get_weights()[0]
    for model in (sgd, adagrad):
        model.fit(x, y, sample_weight=weight, verbose=0)
    gradient = before - sgd.encoder.get_weights()[0]
    (squares,) = slots_of(adagrad.optimizer, adagrad.encoder.trainable_variables)
    assert np.abs(gradient[3]).min() > 0
    np.testing.assert_allclose(squares.numpy(), 0.5 + gradient**2, rtol=1e-5)


def test_a_task_without_rows_has_no_part_in_the_metrics():
    model = make_model("sgd")
    x, y, weight = batch(rows=4)
    y["mood"] = np.array([0, 1, 2, 0], "int32")
    y["mood"] = model.predict(x, verbose=0)["mood"].argmax(-1)
    y["mood"][2:] = (y["mood"][2:] + 1) % 3  # Rows 0 and 1 are right, 2 and 3 are wrong.
    logs = model.evaluate(x, y, sample_weight={**weight, "mood": np.array([1, 1, 0, 0.0])}, verbose=0, return_dict=True)
    assert logs["mood_accuracy"] == 1.0
    logs = model.evaluate(x, y, sample_weight={**weight, "mood": np.array([1, 0, 1, 1.0])}, verbose=0, return_dict=True)
    assert logs["mood_accuracy"] == pytest.approx(1 / 3)


def test_targets_may_lack_a_task_altogether():
    model = make_model("sgd")
    x, y, _ = batch()
    head = model.heads["score"].get_weights()
    history = model.fit(x, {"mood": y["mood"]}, verbose=0)
    assert np.isnan(history.history["score_loss"] + history.history["score_rmse"]).all()
    for kept, now in zip(head, model.heads["score"].get_weights(), strict=True):
        np.testing.assert_array_equal(kept, now)


def test_errors_name_what_is_wrong():
    model = make_model("sgd")
    x, y, _ = batch()
    with pytest.raises(ValueError, match="Got targets for 'moood', which is no task of the model"):
        model.fit(x, {"moood": y["mood"]}, verbose=0)
    with pytest.raises(ValueError, match="expects targets as a dict by task"):
        model.fit(x, y["mood"], verbose=0)
    with pytest.raises(ValueError, match="expects token ids as x\\['token_ids'\\]; got \\['ids'\\]"):
        model.predict({"ids": x["token_ids"]}, verbose=0)
    with pytest.raises(ValueError, match=r"token ids of shape \[rows, tokens\]; got .*Give several inputs as a dict by name"):
        model.predict([x["token_ids"]], verbose=0)
    with pytest.raises(ValueError, match="compile takes no 'loss'"):
        model.compile("sgd", loss="mse")
    with pytest.raises(ValueError, match=r"takes no 'loss_weights': .* balancer=mtl.balancing.Static\({'mood': 2.0}\)"):
        model.compile("sgd", loss_weights={"mood": 2.0})
    with pytest.raises(ValueError, match=r"takes no 'metrics': .* the head of 'score': Regression\(metrics=\[...\]\)"):
        model.compile("sgd", metrics={"score": ["mae"]})
    with pytest.raises(ValueError, match=r"compile takes no 'balancer'. Give it to the model: \w+\(..., balancer=...\)"):
        model.compile("sgd", balancer="pcgrad")
    with pytest.raises(ValueError, match="Unknown argument of compile 'jit_compiled'; did you mean 'jit_compile'"):
        model.compile("sgd", jit_compiled=True)


@pytest.mark.parametrize("rows", [8, 13])
def test_weights_of_some_tasks_leave_the_others_rows_at_1(rows):
    x, y, weight = batch(rows, mood=np.arange(rows))
    models = [make_model("sgd"), make_model("sgd")]
    logs = []
    for model, given in zip(models, ({"mood": weight["mood"]}, weight), strict=True):
        data = {"sample_weight": given, "batch_size": 4, "verbose": 0}
        history = model.fit(x, y, shuffle=False, validation_data=(x, y, given), **data).history
        logs.append({**history, **model.evaluate(x, y, return_dict=True, **data)})
    assert logs[0] == logs[1]
    for some, all_ in zip(models[0].get_weights(), models[1].get_weights(), strict=True):
        np.testing.assert_array_equal(some, all_)
    with pytest.raises(ValueError, match="Unknown task with targets 'moood'; did you mean 'mood'"):
        models[0].fit(x, y, sample_weight={"moood": weight["mood"]}, verbose=0)


def test_the_soft_penalty_is_in_the_loss():
    model = make_model(keras.optimizers.SGD(0.0), sharing=Soft(0.5))
    first, second = (model.sharing.encoder_of(task) for task in ("mood", "score"))
    weights = first.get_weights()
    second.set_weights([w + 0.2 for w in weights])
    x, y, weight = batch()
    history = model.fit(x, y, sample_weight=weight, verbose=0).history
    distance = sum(w.size for w in weights) * 2 * 0.1**2  # Each is 0.1 from their mean.
    tasks = history["mood_loss"][0] + history["score_loss"][0]
    assert history["loss"][0] == pytest.approx(tasks + 0.5 * distance, rel=1e-5)


def test_several_lengths_do_not_retrace_for_ever(monkeypatch):
    model = make_model("sgd")
    steps = []
    step = model.train_step

    def counted(data):
        steps.append(1)
        return step(data)

    monkeypatch.setattr(model, "train_step", counted)

    def batches():
        for length in (3, 4, 5, 6, 7, 8, 9):
            x, y, weight = batch()
            yield {"token_ids": np.ones((8, length), "int32")}, y, weight

    spec = (
        {"token_ids": tf.TensorSpec((8, None), tf.int32)},
        {"mood": tf.TensorSpec((8,), tf.int32), "score": tf.TensorSpec((8,), tf.float32)},
        {"mood": tf.TensorSpec((8,), tf.float32), "score": tf.TensorSpec((8,), tf.float32)},
    )
    dataset = tf.data.Dataset.from_generator(batches, output_signature=spec).apply(tf.data.experimental.assert_cardinality(7))
    model.fit(dataset, verbose=0)
    assert len(steps) == 1


def test_a_second_fit_keeps_the_loss_scale_and_the_optimizers_variables():
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01), initial_scale=8.0)
    model = make_model(optimizer)
    x, y, weight = batch()
    model.fit(x, y, sample_weight=weight, verbose=0)
    count = len(optimizer.variables)
    optimizer.dynamic_scale.assign(2.0)
    model.fit(x, y, sample_weight=weight, verbose=0)
    assert len(optimizer.variables) == count and float(optimizer.dynamic_scale) == 2.0


def test_plain_gradient_descent_has_no_slots_and_counts_its_steps():
    model = make_model(keras.optimizers.SGD(0.1))
    x, y, weight = batch()
    for own in ("mood", "score"):  # Each head has two variables, as many as the optimizer's counter and rate.
        model.optimizer.built or model.optimizer.build(model.trainable_variables)
        assert slots_of(model.optimizer, model.heads[own].trainable_variables) == []
    model.fit(x, {"mood": y["mood"]}, verbose=0)
    model.fit(x, {"mood": y["mood"]}, verbose=0)
    assert int(model.optimizer.iterations) == 2


def test_freezing_behind_the_models_back_is_noticed():
    model = make_model("adam")
    x, y, weight = batch()
    model.fit(x, y, sample_weight=weight, verbose=0)
    model.encoder.trainable = False
    with pytest.raises(ValueError, match="What is trained has changed since the model was compiled. Compile it again"):
        model.fit(x, y, sample_weight=weight, verbose=0)
    model.compile("adam")
    before = model.encoder.get_weights()
    model.fit(x, y, sample_weight=weight, verbose=0)
    np.testing.assert_array_equal(before[0], model.encoder.get_weights()[0])


def test_xla_compiles_the_step():
    """The nearest that a machine without a TPU comes to one."""
    x, y, weight = batch()
    y["tags"], weight["tags"] = np.ones((8, 5), "int32"), np.ones((8, 5), "float32")
    losses = []
    for jit_compile in (False, True):
        keras.utils.set_random_seed(1)
        tasks = [
            Task("mood", Classification(3, dropout=0.0)),
            Task("score", Regression(mean=0.0, scale=1.0, dropout=0.0)),
            Task("tags", Tagging(3, crf=True, dropout=0.0)),
        ]
        encoder = Recurrent(vocabulary_size=20, embedding=4, units=4, dropout=0.0)
        model = MultiTaskModel(encoder, tasks)
        model.compile(keras.optimizers.AdamW(0.01), jit_compile=jit_compile)
        history = model.fit(x, y, sample_weight=weight, batch_size=4, epochs=2, shuffle=False, verbose=0).history
        assert model.jit_compile is jit_compile
        losses.append([*model.get_weights(), *(np.asarray(values) for values in history.values())])
    for plain, compiled in zip(*losses, strict=True):
        np.testing.assert_allclose(compiled, plain, rtol=1e-4, atol=1e-5)


def test_xla_on_several_replicas_is_refused(monkeypatch):
    model = make_model("sgd")
    strategy = type("Several", (), {"num_replicas_in_sync": 2})()
    monkeypatch.setattr(type(model), "distribute_strategy", strategy)
    with pytest.raises(ValueError, match="TensorFlow compiles no step whose replicas meet in it: got jit_compile=True on 2 repl"):
        model.compile("sgd", jit_compile=True)
