import keras
import numpy as np

from mtl.training.keras_internals.layers import draw_per_replica
from tests.two_tasks import batch, make_model


def test_one_device_keeps_keras_optimizers_and_random_stream():
    model = make_model("adam")
    x, y, weight = batch()
    model.fit(x, y, sample_weight=weight, verbose=0)
    assert not hasattr(model.optimizer, "_updates_each_replica")
    layer = keras.layers.Dropout(0.5, seed=3)
    before = keras.random.uniform((4,), seed=keras.random.SeedGenerator(3)).numpy()
    draw_per_replica(keras.Sequential([layer]))
    np.testing.assert_array_equal(keras.random.uniform((4,), seed=layer.seed_generator), before)
