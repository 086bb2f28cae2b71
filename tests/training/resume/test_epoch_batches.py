from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from mtl.training.keras_internals.data_adapters import unrepeatable
from mtl.training.resume.epoch_batches import epoch_batches


def batches(epochs, epoch, step):
    return [[value.tolist() for value in batch] for batch in epochs.at(epoch, step).as_numpy_iterator()]


def test_arrays_in_order():
    x, y = np.arange(5), np.arange(5) * 10
    epochs = epoch_batches((x, y, None), batch_size=2, shuffle=False)
    assert epochs.steps == 3
    assert batches(epochs, 0, 0) == [[[0, 1], [0, 10]], [[2, 3], [20, 30]], [[4], [40]]]
    assert batches(epochs, 7, 2) == [[[4], [40]]] and batches(epochs, 0, 3) == []


def test_it_is_said_what_they_are_made_of():
    said = [
        epoch_batches((np.arange(rows), None, None), batch_size=size, seed=seed, shuffle=shuffle).made_of
        for rows, size, seed, shuffle in [
            (20, 5, 0, True),
            (19, 5, 0, True),
            (20, 6, 0, True),
            (20, 5, 1, True),
            (20, 5, 0, False),
        ]
    ]
    assert said[0] == "4 batches in an epoch, of 20 rows, 5 in a batch, shuffled with the seed 0" and len(set(said)) == 5
    orders = [batches(epoch_batches((np.arange(50), None, None), batch_size=50, seed=seed), 0, 0) for seed in (0, 1)]
    assert orders[0] != orders[1]


def test_arrays_shuffled_by_the_epoch():
    epochs = epoch_batches((np.arange(50), None, np.arange(50.0)), batch_size=8, seed=1)
    whole = batches(epochs, 4, 0)
    rows = [row for batch in whole for row in batch[0]]
    assert sorted(rows) == list(range(50)) != rows
    assert batches(epochs, 4, 3) == whole[3:] and batches(epochs, 5, 0) != whole
    assert all(weights == rows for rows, weights in whole)


def test_arrays_as_keras_takes_them():
    epochs = epoch_batches(({"a": np.ones((3, 2)), "b": None}, {"c": np.ones(3, "int64")}, None))
    (x, y), spec = next(iter(epochs.at(0, 0))), epochs.at(0, 0).element_spec
    assert sorted(x) == ["a"] and (x["a"].dtype, y["c"].dtype) == (tf.float32, tf.int64)
    assert spec[0]["a"].shape.as_list() == [None, 2]


def test_a_dataset_is_read_to_the_place():
    data = tf.data.Dataset.range(10).batch(3)
    epochs = epoch_batches((data, None, None), unrepeatable=unrepeatable)
    assert epochs.steps == 4 and [each.tolist() for each in epochs.at(3, 2).as_numpy_iterator()] == [[6, 7, 8], [9]]
    unknown = epoch_batches((data.filter(lambda each: True), None, None))
    assert unknown.steps is None


def test_a_mixture_is_asked():
    mixture = SimpleNamespace(at=lambda epoch, step: (epoch, step), steps_per_epoch=7, made_of="of rows")
    epochs = epoch_batches((SimpleNamespace(mixture=mixture), None, None))
    assert (epochs.steps, epochs.at(3, 2)) == (7, (3, 2))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (tf.data.Dataset.range(3).shuffle(3, seed=1).batch(2), "shuffled in an order that no other process repeats"),
        (tf.data.Dataset.range(3).shuffle(3, reshuffle_each_iteration=False).batch(2), "shuffled in an order"),
        (tf.data.Dataset.range(3).repeat(), "got an endless dataset"),
        ((each for each in range(3)), "got generator, which cannot begin at a step"),
        (np.array(3.0), "got ndarray, which cannot begin"),
    ],
)
def test_what_cannot_be_placed(data, message):
    with pytest.raises(ValueError, match=message):
        epoch_batches((data, None, None), unrepeatable=unrepeatable)


def test_a_fixed_shuffle_is_fine():
    data = tf.data.Dataset.range(30).shuffle(30, seed=1, reshuffle_each_iteration=False)
    epochs = epoch_batches((data, None, None), unrepeatable=unrepeatable)
    assert list(epochs.at(1, 4).as_numpy_iterator()) == list(data.as_numpy_iterator())[4:]


def test_rows_must_match():
    with pytest.raises(ValueError, match=r"one row for each example; got \[2, 3\] rows"):
        epoch_batches((np.zeros(3), np.zeros(2), None))
