import keras
import numpy as np
import pytest
import tensorflow as tf

from mtl.balancing import DTP, DWA
from mtl.training.epochs import Epochs
from tests.two_tasks import batch, make_model


def test_weights_follow_the_mean_losses_of_epochs():
    """With a learning rate of 0 the losses of all epochs are the same, and with one above 0 they are not."""
    x, y, weight = batch()
    model = make_model(keras.optimizers.SGD(0.3), DWA(temperature=0.1))
    history = model.fit(x, y, sample_weight=weight, batch_size=8, epochs=3, verbose=0).history
    ratios = np.array([history[f"{task}_loss"][1] / history[f"{task}_loss"][0] for task in model.task_names])
    odds = np.exp(ratios / 0.1)
    weights = model.balancer.current_weights()
    np.testing.assert_allclose([weights["mood"], weights["score"]], 2 * odds / odds.sum(), rtol=1e-4)
    assert weights["mood"] != pytest.approx(1.0, abs=1e-3)


def test_the_metrics_of_an_epoch_are_shown():
    """Before it was shown any, each task counts 1; then -(1 - k)^2 log k."""
    x, y, weight = batch()
    model = make_model(keras.optimizers.SGD(0.0), DTP(alpha=1.0))
    history = model.fit(x, y, sample_weight=weight, validation_data=(x, y, weight), epochs=2, verbose=0).history
    shown = [history["mood_accuracy"][0], max(history["score_pearson"][0], 1e-4)]
    expected = [-((1 - k) ** 2) * np.log(k) for k in shown]
    weights = model.balancer.current_weights()
    np.testing.assert_allclose([weights["mood"], weights["score"]], expected, rtol=1e-3)


def test_a_task_without_rows_shows_no_metric():
    x, y, weight = batch(score=np.zeros(8))
    model = make_model(keras.optimizers.SGD(0.0), DTP(alpha=1.0))
    model.fit(x, y, sample_weight=weight, validation_data=batch(), epochs=2, verbose=0)
    seen = next(v for v in model.balancer.state.weights if v.name == "seen").numpy()
    assert seen.tolist() == [1.0, 0.0]


class EvaluatesOnce(keras.callbacks.Callback):
    """Evaluates, beside the validation, rows that all tasks have labels for."""

    def on_epoch_begin(self, epoch, logs=None):
        self.first = epoch == 0

    def on_test_end(self, logs=None):
        if self.first:
            self.first = False
            self.model.evaluate(*batch()[:2], verbose=0)


def test_the_rows_are_those_of_the_training_in_each_epoch():
    """Of three epochs, the second alone has rows of the score."""
    parts = [batch(score=np.full(8, float(i == 1))) for i in range(3)]
    arrays = [{name: np.concatenate([part[i][name] for part in parts]) for name in parts[0][i]} for i in range(3)]
    dataset = tf.data.Dataset.from_tensor_slices(tuple(arrays)).batch(8)
    model = make_model(keras.optimizers.SGD(0.0), DTP(alpha=1.0))
    seen = []

    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(next(v for v in self.model.balancer.state.weights if v.name == "seen").numpy().tolist())

    rows = {"steps_per_epoch": 1, "epochs": 3, "validation_data": batch(), "validation_batch_size": 8}
    model.fit(dataset.repeat(), callbacks=[EvaluatesOnce(), Look()], verbose=0, **rows)
    assert seen == [[1.0, 0.0], [1.0, 1.0], [1.0, 1.0]]


def test_other_callbacks_come_after_and_a_list_of_keras_is_told_once():
    x, y, weight = batch()
    model = make_model("sgd", DWA())
    after = []

    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            after.append(next(v for v in self.model.balancer.state.weights if v.name == "epochs").numpy().tolist())

    given = keras.callbacks.CallbackList([Look()], add_history=True, model=model)
    model.fit(x, y, sample_weight=weight, callbacks=given, verbose=0)
    model.fit(x, y, sample_weight=weight, callbacks=given, verbose=0)
    model.fit(x, y, sample_weight=weight, callbacks=Look(), verbose=0)
    assert after == [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]
    assert sum(isinstance(each, Epochs) for each in given.callbacks) == 1
