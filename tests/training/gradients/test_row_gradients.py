import numpy as np
import pytest
import tensorflow as tf

from mtl.training.gradients.row_gradients import RowGradients

#: The gradients of two tasks of a table of 5 rows; row 0 of the first task stands in two slices.
PARTS = [([0, 3, 0], [[1.0, 2.0], [3.0, 4.0], [10.0, 20.0]]), ([3, 1], [[5.0, 6.0], [7.0, 8.0]])]
WHOLE = [[11, 22, 0, 0, 0, 0, 3, 4, 0, 0], [0, 0, 7, 8, 0, 0, 5, 6, 0, 0]]


def slices(task):
    rows, values = PARTS[task]
    return RowGradients.of(tf.IndexedSlices(tf.constant(values), tf.constant(rows)), tf.zeros([5, 2])).of_task(task, 5)


def test_each_row_is_kept_once():
    one = slices(0)
    assert one.positions.numpy().tolist() == [0, 3] and one.values.numpy().tolist() == [[11.0, 22.0], [3.0, 4.0]]
    assert slices(1).positions.numpy().tolist() == [8, 6]


def test_whole_gradients():
    assert RowGradients.joined([slices(0), slices(1)]).dense(2, 5).numpy().tolist() == WHOLE


def test_only_the_rows_that_any_task_has():
    found, rows = RowGradients.joined([slices(1), slices(0)]).compact(2, 5)
    assert sorted(rows.numpy().tolist()) == [0, 1, 3] and found.shape == (2, 6)
    whole = np.zeros([2, 5, 2])
    whole[:, rows] = np.reshape(found, [2, 3, 2])
    assert whole.reshape(2, 10).tolist() == WHOLE


def test_sums_of_what_stands_in_several():
    found = RowGradients.joined([slices(0), slices(1), slices(0)]).dense(2, 5).numpy()
    assert found.tolist() == (np.array(WHOLE) * [[2], [1]]).tolist()


def test_nothing_is_beyond_the_table():
    beyond = tf.IndexedSlices(tf.constant([[1.0, 2.0], [3.0, 4.0]]), tf.constant([5, 4]))
    assert RowGradients.of(beyond, tf.zeros([5, 2])).dense(2, 5).numpy().tolist() == [[0.0] * 8 + [3.0, 4.0], [0.0] * 10]


def test_a_dense_gradient_and_none():
    table = tf.zeros([5, 2])
    dense = tf.random.stateless_normal([5, 2], [1, 2])
    np.testing.assert_array_equal(RowGradients.of(dense, table).of_task(1, 5).dense(2, 5)[1], tf.reshape(dense, [-1]))
    found, rows = RowGradients.of(None, table).compact(2, 5)
    assert found.shape == (2, 0) and rows.shape == (0,)


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("turns", [0, 2])
def test_written_in_turn(turns, graph):
    def written(turns):
        arrays = RowGradients.arrays(turns, tf.zeros([5, 2]))
        for turn in range(2):
            arrays = tf.cond(
                turn < turns, lambda turn=turn, arrays=arrays: arrays.write(turn, slices(turn)), lambda arrays=arrays: arrays
            )
        return arrays.read().dense(2, 5)

    found = (tf.function(written, autograph=False) if graph else written)(tf.constant(turns))
    assert found.numpy().tolist() == (WHOLE if turns else np.zeros([2, 10]).tolist())
