"""Updates of the shared variables, against gradients by NumPy and what a balancer makes of them on its own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtl.balancing
from mtl import MultiTaskModel, Task
from mtl.balancing import FAMO, MGDA, PCGrad, SDMGrad, UncertaintyWeighting
from mtl.encoders import Recurrent
from mtl.heads import Classification, Regression, Tagging
from mtl.sharing import Soft
from mtl.training.gradients.task_gradients import TaskGradients
from tests.two_tasks import batch, make_model

METHODS = [
    cls
    for cls in (getattr(mtl.balancing, name) for name in mtl.balancing.__all__)
    if isinstance(cls, type) and issubclass(cls, mtl.balancing.Balancer) and cls.needs != "losses" and cls is not SDMGrad
]

#: Rows of one task alone, of both, and of none.
MOOD, SCORE = [1, 0, 0, 1, 0, 0, 1, 2.0], [0, 0.5, 1, 0, 0, 0, 1, 1]


def softmax(logits):
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    return odds / odds.sum(-1, keepdims=True)


def by_numpy(model, x, y, weight):
    """Both losses, and their gradients: of pooled features `[2, B, H]`, of the embeddings `[2, P]`, and of the heads' kernels."""
    embeddings = model.encoder.embedding.get_weights()[0].astype(np.float64)
    pooled = embeddings[x["token_ids"]].mean(axis=1)
    (kernel, bias), (vector, shift) = (model.heads[task].get_weights() for task in ("mood", "score"))
    p = softmax(pooled @ kernel + bias)
    error = (pooled @ vector + shift)[:, 0] - y["score"]
    total = {task: max(weight[task].sum(), 1e-9) for task in weight}
    of_logits = (p - np.eye(3)[y["mood"]]) * weight["mood"][:, None] / total["mood"]
    of_score = (2 * error * weight["score"])[:, None] / total["score"]
    of_pooled = np.stack([of_logits @ kernel.T, of_score @ vector.T])
    of_embeddings = np.zeros((2, *embeddings.shape))
    for row, ids in enumerate(x["token_ids"]):
        for token in ids:
            of_embeddings[:, token] += of_pooled[:, row] / len(ids)
    losses = [
        -(weight["mood"] * np.log(p[np.arange(len(p)), y["mood"]])).sum() / total["mood"],
        (weight["score"] * error**2).sum() / total["score"],
    ]
    return np.array(losses), of_pooled, of_embeddings.reshape(2, -1), [pooled.T @ of_logits, pooled.T @ of_score]


def updates(model, x, y, weight, rate=0.1):
    """What one step of gradient descent takes from the embeddings and from the heads' kernels, over its rate."""

    def weights():
        return [each.get_weights()[0].astype(np.float64) for each in (model.encoder, model.heads["mood"], model.heads["score"])]

    before = weights()
    model.fit(x, y, sample_weight=weight, batch_size=len(x["token_ids"]), shuffle=False, verbose=0)
    embeddings, *kernels = [(a - b) / rate for a, b in zip(before, weights(), strict=True)]
    return embeddings.ravel(), kernels


def made_of(balancer, jacobian, losses, active=None):
    return balancer.aggregate(jacobian.astype("float32"), active, losses.astype("float32")).numpy()


def make(method):
    return method(MGDA()) if method is mtl.balancing.CRMOGM else method()


def model_with(balancer, at="parameters"):
    model = make_model(keras.optimizers.SGD(0.1), balancer)
    return comparing_at(model, at) if at != "parameters" else model


def comparing_at(model, at):
    """The same model, with gradients compared elsewhere."""
    config = {**model.get_config(), "gradients_at": at}
    other = MultiTaskModel.from_config(config)
    other.set_weights(model.get_weights())
    other.compile(keras.optimizers.SGD(0.1))
    return other


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
def test_the_shared_update_is_the_balancers_and_heads_get_their_own_gradients(method):
    model = model_with(make(method))
    x, y, weight = batch(mood=MOOD, score=SCORE)
    losses, _, jacobian, kernels = by_numpy(model, x, y, weight)
    update, of_heads = updates(model, x, y, weight)
    np.testing.assert_allclose(update, made_of(make(method), jacobian, losses), atol=2e-6)
    for mine, expected in zip(of_heads, kernels, strict=True):
        np.testing.assert_allclose(mine, expected, atol=2e-6)


def test_a_method_of_two_batches_takes_rows_in_turn():
    """Of mood the labelled rows are 0, 3, 6, 7; of score 1, 2, 6, 7: in turn, each half has two of either."""
    x, y, weight = batch(mood=MOOD, score=SCORE)
    model = model_with(SDMGrad())
    whole = np.array([4.0 + 1.0, 3.5])  # The sums of the weights.
    first = {"mood": np.array([1, 0, 0, 0, 0, 0, 1, 0.0]), "score": np.array([0, 0.5, 0, 0, 0, 0, 1, 0.0])}
    second = {"mood": np.array([0, 0, 0, 1, 0, 0, 0, 2.0]), "score": np.array([0, 0, 1, 0, 0, 0, 0, 1.0])}
    (_, _, one, _), (_, _, two, _) = (by_numpy(model, x, y, half) for half in (first, second))
    shares = np.array([half[task].sum() for half in (first, second) for task in ("mood", "score")]).reshape(2, 2) / whole
    mean = shares[0][:, None] * one + shares[1][:, None] * two
    weights = SDMGrad().weights((one @ two.T).astype("float32")).numpy()
    _, _, jacobian, kernels = by_numpy(model, x, y, weight)
    update, of_heads = updates(model, x, y, weight)
    np.testing.assert_allclose(update, weights @ mean, atol=2e-6)
    np.testing.assert_allclose(mean, jacobian, atol=1e-9)
    for mine, expected in zip(of_heads, kernels, strict=True):
        np.testing.assert_allclose(mine, expected, atol=2e-6)


def test_a_task_with_rows_in_one_half_alone_is_known_from_the_whole_batch():
    x, y, weight = batch(mood=MOOD, score=[0, 0, 1, 0, 0, 0, 0, 0])
    model = model_with(SDMGrad())
    halves = [np.array([1, 0, 0, 0, 0, 0, 1, 0.0]), np.array([0, 0, 0, 1, 0, 0, 0, 2.0])]
    one, two = (by_numpy(model, x, y, {"mood": half, "score": weight["score"]})[2] for half in halves)
    _, _, jacobian, _ = by_numpy(model, x, y, weight)
    shown = jacobian @ jacobian.T
    shown[0, 0] = one[0] @ two[0]
    weights = SDMGrad().weights(shown.astype("float32")).numpy()
    np.testing.assert_allclose(updates(model, x, y, weight)[0], weights @ jacobian, atol=2e-6)


def test_heads_get_their_gradients_as_often_as_their_losses_count():
    """IMTL multiplies losses by `e^s`."""
    x, y, weight = batch(mood=MOOD, score=SCORE)
    model = model_with(mtl.balancing.IMTL())
    for task, scale in (("mood", 0.5), ("score", -0.25)):
        model.balancer.task_variables(task)[0].assign(scale)
    kernels = by_numpy(model, x, y, weight)[3]
    _, (of_mood, of_score) = updates(model, x, y, weight)
    np.testing.assert_allclose(of_mood, np.exp(0.5) * kernels[0], atol=2e-6)
    np.testing.assert_allclose(of_score, np.exp(-0.25) * kernels[1], atol=2e-6)


@pytest.mark.parametrize("method", [MGDA, mtl.balancing.NashMTL, PCGrad], ids=lambda method: method.__name__)
def test_at_the_representation_the_gramian_is_that_of_the_features(method):
    """The features of this encoder are its embeddings, of which the pooled ones are means over five tokens."""
    x, y, weight = batch(mood=MOOD, score=SCORE)
    model = model_with(make(method), "representation")
    _, of_pooled, jacobian, _ = by_numpy(model, x, y, weight)
    of_sequence = np.repeat(of_pooled / 5.0, 5, axis=1).reshape(2, -1)
    weights = make(method).weights((of_sequence @ of_sequence.T).astype("float32")).numpy()
    update, _ = updates(model, x, y, weight)
    np.testing.assert_allclose(update, weights @ jacobian, atol=2e-6)


def test_at_named_layers_the_gramian_is_that_of_their_variables():
    x, y, weight = batch(mood=MOOD, score=SCORE)
    model = model_with(MGDA(), ["embedding"])
    losses, _, jacobian, _ = by_numpy(model, x, y, weight)
    update, _ = updates(model, x, y, weight)
    np.testing.assert_allclose(update, made_of(MGDA(), jacobian, losses), atol=2e-6)


def test_all_layers_of_a_name_are_compared():
    encoder = Recurrent(vocabulary_size=20, embedding=4, units=3)
    tasks = [Task("mood", Classification(3)), Task("score", Regression(mean=0.0, scale=1.0))]
    model = MultiTaskModel(encoder, tasks, balancer=MGDA(), gradients_at=["lstm_cell"])
    paths = {v.path for v in TaskGradients(model, model.gradients_at).compared}
    assert paths == {v.path for v in encoder.weights if "lstm_cell" in v.path} and len(paths) == 6


def test_a_task_without_rows_is_left_out_of_the_balance():
    x, y, weight = batch(mood=MOOD, score=np.zeros(8))
    model = model_with(mtl.balancing.NashMTL(max_norm=None))
    losses, _, jacobian, _ = by_numpy(model, x, y, weight)
    update, (of_mood, of_score) = updates(model, x, y, weight)
    np.testing.assert_allclose(update, jacobian[0] / np.linalg.norm(jacobian[0]), atol=2e-6)  # Nash: w^2 |g|^2 = 1.
    assert not of_score.any() and np.isnan(model.conflicts.read()["norms"][1])


def test_a_task_without_targets_too():
    x, y, weight = batch(mood=MOOD)
    model = model_with(mtl.balancing.NashMTL(max_norm=None))
    _, _, jacobian, _ = by_numpy(model, x, y, {**weight, "score": np.zeros(8)})
    before = model.encoder.get_weights()[0]
    model.fit(x, {"mood": y["mood"]}, sample_weight={"mood": weight["mood"]}, batch_size=8, verbose=0)
    update = ((before - model.encoder.get_weights()[0]) / 0.1).ravel()
    np.testing.assert_allclose(update, jacobian[0] / np.linalg.norm(jacobian[0]), atol=2e-6)


def test_penalties_are_added_to_the_update():
    x, y, weight = batch(mood=MOOD, score=SCORE)
    model = model_with(MGDA())
    model.encoder.embedding.embeddings.regularizer = keras.regularizers.L2(0.5)
    losses, _, jacobian, _ = by_numpy(model, x, y, weight)
    embeddings = model.encoder.get_weights()[0].ravel()
    update, _ = updates(model, x, y, weight)
    np.testing.assert_allclose(update, made_of(MGDA(), jacobian, losses) + embeddings, atol=2e-6)


@pytest.mark.parametrize("at", ["parameters", "representation"])
def test_the_scale_of_losses_changes_nothing(at):
    x, y, weight = batch(mood=MOOD, score=SCORE)
    plain, scaled = (model_with(mtl.balancing.NashMTL(), at) for _ in range(2))
    scaled.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1), initial_scale=2.0**12))
    for one, two in zip(updates(plain, x, y, weight), updates(scaled, x, y, weight), strict=True):
        keras.tree.map_structure(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), one, two)


def test_what_conflicts_is_seen():
    x, y, weight = batch(mood=MOOD, score=SCORE)
    model = model_with(PCGrad())
    _, _, jacobian, _ = by_numpy(model, x, y, weight)
    update, _ = updates(model, x, y, weight)
    norms = np.linalg.norm(jacobian, axis=1)
    found = model.conflicts.read()
    np.testing.assert_allclose(found["norms"], norms, rtol=1e-5)
    np.testing.assert_allclose(found["cosines"], jacobian @ jacobian.T / np.outer(norms, norms), atol=1e-5)
    np.testing.assert_allclose(found["update"], jacobian @ update / norms / np.linalg.norm(update), atol=1e-5)
    assert found["conflicting"] == float((jacobian[0] @ jacobian[1]) < 0)


def test_layers_that_one_task_alone_reaches_get_its_gradient():
    """Attention pooling serves the task that takes pooled features, not the one that takes the sequence."""
    encoder = Recurrent(vocabulary_size=20, embedding=4, units=3, dropout=0.0, pooling="attention")
    tasks = [Task("mood", Classification(3, dropout=0.0)), Task("tags", Tagging(2, dropout=0.0))]
    keras.utils.set_random_seed(0)
    model = MultiTaskModel(encoder, tasks, balancer=mtl.balancing.NashMTL())
    model.compile(keras.optimizers.SGD(1.0))
    pooling = encoder.get_layer("pooling")
    x = {"token_ids": np.arange(1, 13, dtype="int32").reshape(3, 4)}
    y = {"mood": np.array([0, 1, 2], "int32"), "tags": np.ones((3, 4), "int32")}
    with tf.GradientTape() as tape:
        features = encoder(model.complete(x), training=True)
        logits = tf.nn.log_softmax(model.heads["mood"].readout.linear(features["pooled"]))
        loss = -tf.reduce_mean(tf.gather(logits, y["mood"], batch_dims=1))
    expected = tape.gradient(loss, [v.value for v in pooling.trainable_variables])
    before = pooling.get_weights()
    model.fit(x, y, batch_size=3, verbose=0)
    for old, new, gradient in zip(before, pooling.get_weights(), expected, strict=True):
        np.testing.assert_allclose(old - new, gradient, atol=1e-6)


def test_frozen_variables_have_room_in_what_is_tracked():
    x, y, weight = batch()
    encoder = Recurrent(vocabulary_size=20, embedding=4, units=3, dropout=0.0)
    tasks = [Task("mood", Classification(3)), Task("score", Regression(mean=0.0, scale=1.0))]
    model = MultiTaskModel(encoder, tasks, balancer=mtl.balancing.MoCo())
    size = model.balancer.size
    assert size is not None
    assert size == encoder.count_params()
    encoder.token_embedding.trainable = False
    model.compile("sgd")
    before = [v.numpy() for v in encoder.weights]
    model.fit(x, y, sample_weight=weight, verbose=0)
    tracked = next(v for v in model.balancer.state.weights if v.name == "gradients").numpy()
    assert tracked.shape == (2, size) and (np.abs(tracked).sum(axis=0) > 0).sum() <= size - 80
    changed = [bool((a != b.numpy()).any()) for a, b in zip(before, encoder.weights, strict=True)]
    assert changed == [v.trainable for v in encoder.weights]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "at"), [(mtl.balancing.NashMTL, "parameters"), (mtl.balancing.CAGrad, "representation")])
def test_xla_compiles_the_step_and_its_solver(method, at):
    x, y, weight = batch(mood=MOOD, score=SCORE)
    plain, compiled = (model_with(method(), at) for _ in range(2))
    compiled.compile(keras.optimizers.SGD(0.1), jit_compile=True)
    for one, two in zip(updates(plain, x, y, weight), updates(compiled, x, y, weight), strict=True):
        keras.tree.map_structure(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), one, two)


def test_two_models_do_not_share_a_balancers_state():
    balancer = mtl.balancing.MoCo()
    first, second = make_model("sgd", balancer), make_model("sgd", balancer)
    assert first.balancer is balancer and type(second.balancer) is type(balancer)
    x, y, weight = batch()
    first.fit(x, y, sample_weight=weight, verbose=0)
    tracked = [next(v for v in model.balancer.state.weights if v.name == "gradients").numpy() for model in (first, second)]
    assert np.abs(tracked[0]).max() > 0 and not tracked[1].any()


def test_scaled_optimizers_of_several_groups_take_batches_without_a_task():
    groups = keras.optimizers.SGD(0.1), keras.optimizers.Adam(0.1)
    several = keras.optimizers.MultiOptimizer(lambda v: groups["score" in v.path])
    model = make_model(keras.optimizers.LossScaleOptimizer(several), PCGrad())
    x, y, _ = batch()
    before = model.heads["score"].get_weights()
    model.fit(x, {"mood": y["mood"]}, verbose=0)
    for old, new in zip(before, model.heads["score"].get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_what_a_balancer_learns_is_read_before_it_is_updated():
    """The same step a few hundred times: threads must not make a difference."""
    x, y, weight = batch(mood=MOOD, score=SCORE)
    model = make_model(keras.optimizers.SGD(0.1), mtl.balancing.IMTL())
    model.make_train_function()
    start = [v.numpy() for v in model.weights]
    steps = iter(tf.data.Dataset.from_tensors((x, y, weight)).repeat())
    ends = set()
    for _ in range(300):
        for variable, value in zip(model.weights, start, strict=True):
            variable.assign(tf.constant(value) + tf.zeros_like(value))  # A copy, which no update can write into.
        model.train_function(steps)
        ends.add(model.encoder.get_weights()[0].round(5).tobytes())
    assert len(ends) == 1


def test_one_task_has_nothing_to_balance():
    x, y, weight = batch()
    model = make_model("sgd", PCGrad()).subset(["mood"])
    model.compile("sgd")
    assert np.isfinite(model.fit(x, y["mood"], verbose=0).history["loss"][0])


def test_a_look_ahead_is_at_the_same_batch_after_the_update():
    x, y, weight = batch(mood=MOOD, score=SCORE)
    model = make_model(keras.optimizers.SGD(0.1), FAMO())
    alone = FAMO()
    before = by_numpy(model, x, y, weight)[0].astype("float32")
    model.fit(x, y, sample_weight=weight, batch_size=8, verbose=0)
    alone.combine(before)
    alone.after_step(by_numpy(model, x, y, weight)[0].astype("float32"))
    for mine, expected in zip(model.balancer.state.weights, alone.state.weights, strict=True):
        np.testing.assert_allclose(mine.numpy(), expected.numpy(), rtol=1e-3, atol=1e-6)


def test_what_a_balancer_learns_does_not_decay_and_stays_where_a_task_is_missing():
    x, y, weight = batch(score=np.zeros(8))
    model = make_model(keras.optimizers.AdamW(0.1, weight_decay=0.5), UncertaintyWeighting())
    learned = {task: model.balancer.task_variables(task)[0] for task in model.task_names}
    learned["mood"].assign(np.full(learned["mood"].shape, 3.0))
    learned["score"].assign(np.full(learned["score"].shape, 3.0))
    model.fit(x, y, sample_weight=weight, verbose=0)
    assert np.all(learned["score"].numpy() == 3.0)
    # Adam's first step has the length of its rate, whatever the gradient; decay would take 0.1 * 0.5 * 3 more.
    np.testing.assert_allclose(np.abs(learned["mood"].numpy() - 3.0), 0.1, atol=1e-4)


@pytest.mark.parametrize(
    ("balancer", "at", "sharing", "message"),
    [
        (
            PCGrad(),
            "parameters",
            Soft(0.0),
            r"where tasks share variables; \['mood', 'score'\] share none that is trained",
        ),
        (
            mtl.balancing.GradDrop(),
            "representation",
            None,
            "GradDrop needs the gradients of all shared parameters; got gradients_at",
        ),
        (SDMGrad(), ["embedding"], None, "SDMGrad needs the gradients of all shared parameters"),
        (PCGrad(), ["embeding"], None, "layer to compare gradients at 'embeding'.*embedding"),
        (PCGrad(), ["pooling"], None, r"tasks share; the layers \['pooling'\] have none"),
    ],
)
def test_errors_say_what_is_not_there(balancer, at, sharing, message):
    model = make_model("sgd", balancer, sharing)
    model.gradients_at = at
    x, y, weight = batch()
    with pytest.raises(ValueError, match=message):
        model.fit(x, y, sample_weight=weight, verbose=0)


def test_representations_of_separate_encoders_are_not_compared():
    model = make_model("sgd", PCGrad(), Soft(0.1))
    model.gradients_at = "representation"
    x, y, weight = batch()
    with pytest.raises(ValueError, match="share none that is trained"):
        model.fit(x, y, sample_weight=weight, verbose=0)


@pytest.mark.parametrize("at", [None, 5, [3]])
def test_a_place_is_a_name_or_a_list_of_names(at):
    with pytest.raises(ValueError, match="expects `gradients_at` as a text or a list"):
        MultiTaskModel(Recurrent(vocabulary_size=5, embedding=2, units=2), Task("a", Classification(2)), gradients_at=at)


def test_an_unknown_place_is_named():
    with pytest.raises(ValueError, match="'representations'.*representation"):
        MultiTaskModel(
            Recurrent(vocabulary_size=5, embedding=2, units=2), Task("a", Classification(2)), gradients_at="representations"
        )


def test_losses_of_layers_belong_to_no_task():
    model = make_model("sgd", PCGrad())
    model.encoder.embedding.activity_regularizer = keras.regularizers.L2(0.1)
    with pytest.raises(ValueError, match=r"the layers \['embedding'\] add losses of their own .*, or balance losses"):
        model.fit(*batch()[:2], verbose=0)
