import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtl.training import replicas
from mtl.training.replicas import check_strategy, rows_of_replica, sum_gradients, sum_over_replicas


class Context:
    """One of several replicas, which all hold the same values."""

    def __init__(self, replica: Any, count: int):
        self.replica_id_in_sync_group, self.num_replicas_in_sync = replica, count

    def all_reduce(self, operation: Any, value: Any) -> Any:
        assert operation == tf.distribute.ReduceOp.SUM
        return tf.nest.map_structure(lambda each: each * self.num_replicas_in_sync, value)


@contextlib.contextmanager
def as_replica(monkeypatch: pytest.MonkeyPatch, replica: Any, count: int) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(tf.distribute, "get_replica_context", lambda: Context(replica, count))
        yield


@pytest.mark.parametrize(("rows", "count"), [(8, 2), (8, 4), (7, 2), (13, 4), (3, 4), (1, 4), (0, 2)])
@pytest.mark.parametrize("static", [True, False])
def test_every_row_goes_to_one_replica(monkeypatch, rows, count, static):
    batch = {"x": np.arange(rows * 2).reshape(rows, 2), "y": np.arange(rows), "rate": 0.5, "none": None}
    parts = []
    for replica in range(count):
        with as_replica(monkeypatch, replica, count):
            if static:
                parts.append(rows_of_replica(batch))
            else:
                of = tf.function(lambda value: rows_of_replica(value), autograph=False)
                parts.append(of({**batch, "rate": tf.constant(0.5)}))
    for name in ("x", "y"):
        np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), batch[name])
    sizes = [len(part["y"]) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert all(part["none"] is None and float(part["rate"]) == 0.5 for part in parts)


def test_static_shapes_stay_static(monkeypatch):
    """The replica's number is a tensor on TPUs."""

    @tf.function(input_signature=[tf.TensorSpec((8, 3), tf.int32), tf.TensorSpec((), tf.int32)])
    def rows(value, replica):
        with as_replica(monkeypatch, replica, 4):
            part = rows_of_replica(value)
        assert part.shape == (2, 3)
        return part

    np.testing.assert_array_equal(rows(tf.reshape(tf.range(24), (8, 3)), 2), [[12, 13, 14], [15, 16, 17]])


def test_sums_in_one_exchange(monkeypatch):
    values = [tf.constant(2.0), tf.constant([[1.0, 3.0]]), tf.constant([4, 5])]
    for each, value in zip(sum_over_replicas(values), values, strict=True):  # One replica.
        np.testing.assert_array_equal(each, value)
    with as_replica(monkeypatch, 1, 3):
        total = sum_over_replicas(values)
    assert [np.asarray(each).tolist() for each in total] == [6.0, [[3.0, 9.0]], [12.0, 15.0]]


def test_gradients_are_dense(monkeypatch):
    slices = tf.IndexedSlices(tf.constant([[1.0], [2.0], [4.0]]), tf.constant([2, 0, 2]), tf.constant([3, 1]))
    none, dense = sum_gradients([None, slices])
    assert none is None and dense.numpy().tolist() == [[2.0], [0.0], [5.0]]
    with as_replica(monkeypatch, 0, 2):
        none, dense = sum_gradients([None, slices])
        assert sum_gradients([None]) == [None]
    assert none is None and dense.numpy().tolist() == [[4.0], [0.0], [10.0]]
    assert replicas.replicas() == 1


def test_strategies_that_do_not_train_in_step_are_refused():
    check_strategy(None)
    unfit = object.__new__(tf.distribute.ParameterServerStrategy)
    with pytest.raises(ValueError, match="Models train under MirroredStrategy, .*; got ParameterServerStrategyV2. Make the"):
        check_strategy(unfit)
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=["cpu:0"]))
    try:
        with pytest.raises(ValueError, match="keras.distribution does nothing on TensorFlow: .* Take it back with"):
            check_strategy(None)
    finally:
        keras.distribution.set_distribution(None)
