import numpy as np
import pytest
import tensorflow as tf

from mtl.training.keras_internals.data_adapters import ResumableAdapter, unrepeatable, whole_batches
from mtl.training.resume.epoch_batches import EpochBatches


def test_shuffled_datasets_are_seen():
    data = tf.data.Dataset.range(4)
    shuffled = data.shuffle(4, seed=1, reshuffle_each_iteration=False)
    assert {"_seed", "_seed2", "_reshuffle_each_iteration"} <= vars(shuffled).keys()
    assert not unrepeatable(data.batch(2)) and not unrepeatable(shuffled.batch(2))
    for anew in (data.shuffle(4), data.shuffle(4, seed=1)):
        assert unrepeatable(anew.batch(2).prefetch(1)) and unrepeatable(tf.data.Dataset.zip(data, anew))


def test_what_is_made_of_a_mixtures_dataset_is_shuffled_too():
    for shuffle in (True, False):
        dataset = tf.data.Dataset.range(4)
        dataset.mixture = type("Mixture", (), {"shuffle": shuffle})()
        assert unrepeatable(dataset.map(lambda each: each).take(2)) is shuffle


def test_an_epoch_begins_at_a_step():
    seen, batches = [], EpochBatches(lambda epoch, step: tf.data.Dataset.range(10 * epoch + step, 10 * epoch + 5), 5)
    data = ResumableAdapter(batches, 2, 3)
    for _ in range(2):
        for first, last, iterator in data.steps(2):
            seen.append((first, last, int(next(iterator))))
    assert seen == [(3, 4, 23), (0, 1, 30), (2, 3, 31), (4, 5, 32)]


@pytest.mark.parametrize("asked", [None, True])
def test_no_dataset_tunes_itself_unless_it_is_asked_to(asked):
    """Its thread may sleep through the end of an iterator, which then waits for it."""
    data = tf.data.Dataset.range(4).batch(2)
    if asked is not None:
        options = tf.data.Options()
        options.autotune.enabled = asked
        data = data.with_options(options)
    whole = whole_batches(data).get_tf_dataset()
    placed = ResumableAdapter(EpochBatches(lambda epoch, step: data, 2), 0, 0).get_tf_dataset()
    for each in (whole, placed):
        assert each._dataset.options().autotune.enabled is bool(asked)
        assert [batch.numpy().tolist() for batch in each] == [[0, 1], [2, 3]]


def test_a_generators_first_batch_is_looked_at_and_kept():
    texts = ({"token_ids": np.array(["a"])} for _ in range(2))
    with pytest.raises(TypeError, match="expects token ids as inputs; got texts"):
        whole_batches(texts)
    ids = ((np.full([2, 3], i),) for i in range(3))
    assert [int(x[0, 0]) for (x,) in whole_batches(ids).get_tf_dataset()] == [0, 1, 2]


def test_no_data():
    with pytest.raises(ValueError, match="expects token ids, or batches of them; got none. Use mtl.data.mix"):
        whole_batches(None)


@pytest.mark.parametrize("x", [[[1, 2], [3]], [[1, 2], [3, 4]], {"token_ids": [[1, 2], [3, 4]]}])
def test_lists_of_numbers(x):
    with pytest.raises(ValueError, match=r"expects arrays, or a dataset of batches; got .*. Give np.array\(...\), with rows"):
        whole_batches(x)
