import keras
import numpy as np
import tensorflow as tf

from mtl.training.measured import Measured, weighted_update
from mtl.training.scoring import Totals

TOTALS = Totals(tf.zeros(2), tf.zeros(2), tf.zeros([]), tf.zeros(5), {})


def test_weighted_sums_of_a_matrix_and_of_rows_of_a_table():
    """Two tasks; of the table, rows 2 and 0."""
    matrix, table = keras.Variable(np.zeros((1, 2), "float32")), keras.Variable(np.zeros((3, 1), "float32"))
    rows = [tf.constant([[1.0, 2.0], [10.0, 20.0]]), tf.constant([[1.0, 2.0], [0.0, 4.0]])]
    update = weighted_update([matrix, table], rows, [None, tf.constant([2, 0], tf.int64)])
    found = [each.numpy().tolist() for each in update(tf.constant([1.0, 0.5]))]
    assert found == [[[6.0, 12.0]], [[4.0], [0.0], [1.0]]]
    whole = weighted_update([matrix], rows[:1])(tf.constant([1.0, 0.0]))
    assert whole[0].numpy().tolist() == [[1.0, 2.0]]


def test_gradients_and_whose_they_are():
    shared, own = tf.zeros([2, 3]), {"b": [tf.ones(1), tf.ones(2)]}
    measured = Measured([], [[(shared, None)]], own, [], TOTALS, lambda weights: [], None, {})
    owners, gradients = measured.gradients(["a", "b"])
    assert owners == [2, 1, 1] and gradients == [shared, *own["b"]]
