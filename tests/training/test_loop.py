"""The loops under a strategy of one device, which is what can be made in this process; `test_layouts.py` has several."""

import numpy as np
import pytest
import tensorflow as tf

from tests.two_tasks import batch, make_model


@pytest.fixture(scope="module")
def strategy():
    return tf.distribute.OneDeviceStrategy("CPU:0")


def both(strategy, train):
    """The same with and without a strategy."""
    plain = train(make_model("adam"))
    with strategy.scope():
        model = make_model("adam")
    return plain, train(model)


def test_fit_evaluate_and_predict_are_those_without_a_strategy(strategy):
    x, y, weight = batch(rows=11)

    def train(model):
        history = model.fit(x, y, 4, 2, sample_weight=weight, validation_split=0.3, verbose=0, shuffle=False).history
        logs = model.evaluate(x, y, sample_weight=weight, batch_size=3, verbose=0, return_dict=True)
        return [*model.get_weights(), *model.predict(x, batch_size=4, verbose=0).values(), *history.values(), *logs.values()]

    for plain, under in zip(*both(strategy, train), strict=True):
        np.testing.assert_allclose(plain, under, rtol=1e-6, atol=1e-7)


def test_datasets_and_their_validation(strategy):
    dataset = tf.data.Dataset.from_tensor_slices(batch(rows=11)).batch(4)

    def train(model):
        history = model.fit(dataset, validation_data=dataset, epochs=2, verbose=0).history
        assert int(model.optimizer.iterations) == 6
        return [*model.get_weights(), *history.values(), *model.predict(dataset, verbose=0).values()]

    for plain, under in zip(*both(strategy, train), strict=True):
        np.testing.assert_allclose(plain, under, rtol=1e-6, atol=1e-7)


def test_validation_split_takes_the_last_rows():
    x, y, weight = batch(rows=10)
    model = make_model("sgd")
    history = model.fit(x, y, sample_weight=weight, validation_split=0.3, verbose=0).history
    last = [{name: value[7:] for name, value in each.items()} for each in (x, y, weight)]
    logs = model.evaluate(last[0], last[1], sample_weight=last[2], verbose=0, return_dict=True)
    assert history["val_loss"][0] == pytest.approx(logs["loss"], rel=1e-5)


def test_an_epoch_takes_no_batch_beside_its_own(strategy):
    """Keras looks at a batch before it trains; a dataset that is another one each time must not lose any."""
    begun = []

    def batches():
        begun.append(1)
        yield from [batch(rows=4)] * 2

    spec = tf.data.Dataset.from_tensors(batch(rows=4)).element_spec
    dataset = tf.data.Dataset.from_generator(batches, output_signature=spec).apply(tf.data.experimental.assert_cardinality(2))
    with strategy.scope():
        model = make_model("sgd")
    model.fit(dataset, epochs=3, verbose=0)
    assert len(begun) == 3 and int(model.optimizer.iterations) == 6


def test_single_batches(strategy):
    x, y, weight = batch(rows=6)

    def train(model):
        logs = [model.train_on_batch(x, y, weight, return_dict=True) for _ in range(3)]
        logs.append(model.test_on_batch(x, y, weight, return_dict=True))
        return [*model.get_weights(), *(value for each in logs for value in each.values()), *model.predict_on_batch(x).values()]

    for plain, under in zip(*both(strategy, train), strict=True):
        np.testing.assert_allclose(plain, under, rtol=1e-6, atol=1e-7)


def test_nothing_that_is_read_tunes_itself(monkeypatch):
    """An iterator of data that does may wait at its end for as long as it was read."""
    model = make_model("sgd")
    x, y, weight = batch(4)
    data = tf.data.Dataset.from_tensors((x, y, weight))
    read, whole = [], tf.data.Dataset.__iter__

    def seen(dataset):
        read.append(dataset.options().autotune.enabled)
        return whole(dataset)

    monkeypatch.setattr(tf.data.Dataset, "__iter__", seen)
    for each in ({"x": data}, {"x": x, "y": y, "sample_weight": weight}):
        model.fit(**each, epochs=2, validation_data=data, verbose=0)
        model.evaluate(**each, verbose=0)
        model.predict(each["x"], verbose=0)
    assert len(read) >= 2 * (2 + 2 + 1 + 1) and set(read) == {False}


def test_class_weights_are_those_of_heads():
    model, (x, y, weight) = make_model("sgd"), batch()
    message = r"takes no 'class_weight': heads weigh their classes. Set it there: Classification\(class_weights="
    with pytest.raises(ValueError, match=f"fit {message}"):
        model.fit(x, y, sample_weight=weight, class_weight={0: 2.0}, verbose=0)
    with pytest.raises(ValueError, match=f"train_on_batch {message}"):
        model.train_on_batch(x, y, weight, {0: 2.0})
    assert int(model.optimizer.iterations) == 0
    model.train_on_batch(x, y, weight)
    assert int(model.optimizer.iterations) == 1
