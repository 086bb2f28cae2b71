import threading

import numpy as np
import pytest

from mtl.data.mixture.batch_sampler import BatchSampler, Group


def group(lengths, tasks=("a",), store=0):
    return Group(tasks, [(store, np.arange(len(lengths)), np.array(lengths, np.int32))])


def shown(sampler, epoch=0):
    return [(batch.groups.tolist(), batch.positions.tolist(), batch.length) for batch in sampler.of(epoch)]


def test_a_group_of_two_stores():
    both = Group(("a", "b"), [(0, np.array([4, 7]), np.array([1, 2])), (3, np.array([0]), np.array([9]))])
    assert len(both) == 3 and both.name == "a+b" and both.lengths.tolist() == [1, 2, 9]
    found = [(store, chosen.tolist(), rows.tolist()) for store, chosen, rows in both.by_store(np.array([2, 1, 0, 2]))]
    assert found == [(0, [1, 2], [7, 4]), (3, [0, 3], [0, 0])]
    assert [store for store, _, _ in both.by_store(np.array([2]))] == [3]


def test_rows_left_over_go_to_the_next_bucket():
    sampler = BatchSampler([group([1, 5, 2, 1, 6])], ["a"], batch_size=2, buckets=[2, 5, 8], shuffle=False)
    assert shown(sampler) == [([0, 0], [0, 2], 2), ([0, 0], [3, 1], 5), ([0], [4], 8)]
    assert sampler.steps_per_epoch == 3 and shown(sampler, 5) == shown(sampler)
    assert sampler.realised() == {"rows": {"a": 5}, "shares": {"a": 1.0}, "padding": 1 - 15 / (4 + 10 + 8)}
    whole = BatchSampler([group([1, 5, 2, 1, 6])], ["a"], batch_size=2, buckets=[2, 5, 8], shuffle=False, drop_remainder=True)
    assert shown(whole) == shown(sampler)[:2]


def test_an_empty_text_takes_the_shortest_bucket():
    assert shown(BatchSampler([group([0])], ["a"], batch_size=2, buckets=[3], shuffle=False)) == [([0], [0], 3)]


def test_one_group_a_batch():
    groups = [group([1, 1, 1]), group([1, 1], ("b",))]
    sampler = BatchSampler(groups, ["a", "b"], batch_size=2, mixed=False, buckets=1, shuffle=False)
    assert shown(sampler) == [([0, 0], [0, 1], 1), ([0], [2], 1), ([1, 1], [0, 1], 1)]


def test_a_group_goes_on_where_the_epoch_before_left_it():
    sampler = BatchSampler([group([1] * 6)], ["a"], batch_size=1, steps=2, buckets=1, seed=4)
    drawn = [position for epoch in range(6) for _, [position], _ in shown(sampler, epoch)]
    assert sorted(drawn[:6]) == sorted(drawn[6:]) == [0, 1, 2, 3, 4, 5]
    again = BatchSampler([group([1] * 6)], ["a"], batch_size=1, steps=2, buckets=1, seed=4)
    assert shown(again, 3) == shown(sampler, 3)  # Whichever epochs were asked for before.


def test_weights_of_tasks_add_up_in_groups():
    groups = [group([1] * 10, ("a", "b")), group([1] * 10, ("c",))]
    sampler = BatchSampler(groups, ["a", "b", "c"], batch_size=5, sampling="weights", weights={"a": 1, "b": 2, "c": 1})
    assert sampler.realised()["rows"] == {"a+b": 15, "c": 5}
    assert sampler.realised()["shares"] == {"a+b": 0.75, "c": 0.25}


def test_threads_get_one_plan():
    sampler = BatchSampler([group([1] * 1000)], ["a"], batch_size=10, buckets=1)
    found: list = []
    threads = [threading.Thread(target=lambda: found.append(sampler.of(1))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and all(each is found[0] for each in found)


def test_bad_settings():
    with pytest.raises(ValueError, match=r"longest text: 3 tokens; got buckets \[1, 2\]"):
        BatchSampler([group([3])], ["a"], batch_size=1, buckets=[2, 1])
    with pytest.raises(ValueError, match="expects epochs="):
        BatchSampler([group([3])], ["a"], batch_size=1, sampling="annealed")
    with pytest.raises(ValueError, match="Unknown sampling 'even'"):
        BatchSampler([group([3])], ["a"], batch_size=1, sampling="even")
