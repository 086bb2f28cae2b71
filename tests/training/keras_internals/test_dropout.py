import keras
import numpy as np
import pytest
import tensorflow as tf

from mtl.training.keras_internals.dropout import draw_by_place, uniform_from
from mtl.training.replicas import on_rows_of_replica


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("inner", [(), (3,), (4,), (2, 5), (6, 2)])
def test_a_part_has_the_numbers_of_the_whole(dtype, inner):
    seed = tf.constant([5, 9], tf.int64)
    whole = tf.random.stateless_uniform([23, *inner], tf.cast(seed, tf.int32), dtype=dtype).numpy()
    for first, rows in ((0, 23), (1, 4), (10, 0), (11, 12), (22, 1)):
        found = uniform_from(tf.constant(first), [tf.constant(rows), *inner], dtype, seed).numpy()
        np.testing.assert_array_equal(found, whole[first : first + rows])
        dynamic = uniform_from(first, [rows, *map(tf.constant, inner)], dtype, seed).numpy()
        np.testing.assert_array_equal(dynamic, whole[first : first + rows])


class Mine(keras.layers.Dropout):
    def call(self, inputs, training=False):
        return inputs * 7.0


def test_a_dropout_of_another_kind_stays_as_it_is():
    layer = Mine(0.5)
    draw_by_place(keras.Sequential([layer]))
    assert layer(np.ones((1, 1)), training=True).numpy() == 7.0


LAYERS = {
    "dropout": lambda: keras.layers.Dropout(0.4, seed=3),
    "spatial": lambda: keras.layers.SpatialDropout1D(0.4, seed=3),
    "noise_shape": lambda: keras.layers.Dropout(0.4, noise_shape=(None, 1, 6), seed=3),
    "same_for_all_rows": lambda: keras.layers.Dropout(0.4, noise_shape=(1, None, None), seed=3),
    "all": lambda: keras.layers.Dropout(1.0, seed=3),
    "none": lambda: keras.layers.Dropout(0.0, seed=3),
}


@pytest.mark.parametrize("rows", [1, 2, 8, 13])
@pytest.mark.parametrize("name", LAYERS)
def test_replicas_drop_what_one_device_drops(monkeypatch, rows, name):
    x = np.ones((rows, 5, 6), "float32")
    alone = LAYERS[name]()
    expected = [alone(x, training=True).numpy() for _ in range(3)]
    layer = LAYERS[name]()
    draw_by_place(keras.Sequential([layer]))
    count = 3

    class Context:
        num_replicas_in_sync = count

        def __init__(self, replica):
            self.replica_id_in_sync_group = replica

    start = [] if not layer._seed_generators else tf.identity(layer.seed_generator.state.value)
    parts = []
    for replica in range(count):
        if layer._seed_generators:
            layer.seed_generator.state.assign(start)
        monkeypatch.setattr(tf.distribute, "get_replica_context", lambda replica=replica: Context(replica))
        step = lambda rows: layer(rows, training=True).numpy()  # noqa: E731
        parts.append([on_rows_of_replica(step, x) for _ in range(3)])
    found = [np.concatenate(each) for each in zip(*parts, strict=True)]
    np.testing.assert_array_equal(found, expected)


def test_tensors_of_other_rows_and_steps_without_a_place_draw_for_each_replica(monkeypatch):
    layer = keras.layers.Dropout(0.5, seed=3)
    draw_by_place(keras.Sequential([layer]))

    class Context:
        num_replicas_in_sync, replica_id_in_sync_group = 2, 1

    first = keras.layers.Dropout(0.5, seed=3)(np.ones((7, 64), "float32"), training=True).numpy()
    monkeypatch.setattr(tf.distribute, "get_replica_context", Context)
    packed = on_rows_of_replica(lambda rows: layer(np.ones((7, 64), "float32"), training=True).numpy(), np.ones((8, 2)))
    layer.seed_generator.state.assign([3, 0])
    without = layer(np.ones((7, 64), "float32"), training=True).numpy()
    np.testing.assert_array_equal(packed, without)
    assert (packed != first).mean() > 0.3
