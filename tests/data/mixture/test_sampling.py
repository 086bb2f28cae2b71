import numpy as np
import pytest

from mtl.data.mixture.sampling import counts, order, shares


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, [0.9, 0.1]),
        ({"method": "uniform"}, [0.5, 0.5]),
        ({"method": "weights", "weights": [1, 3]}, [0.25, 0.75]),
        ({"method": "temperature", "temperature": 2.0}, [0.75, 0.25]),  # 30 : 10
        ({"method": "temperature", "cap": 300}, [0.75, 0.25]),  # 300 : 100
        ({"method": "temperature", "temperature": 2.0, "cap": 400}, [2 / 3, 1 / 3]),  # 20 : 10
        ({"method": "annealed", "progress": 0.0}, [0.9, 0.1]),
        ({"method": "annealed", "progress": 1.0}, [9**0.2 / (9**0.2 + 1), 1 / (9**0.2 + 1)]),
        ({"method": "annealed", "progress": 0.625}, [0.75, 0.25]),  # exponent 1/2
    ],
)
def test_shares_by_hand(arguments, expected):
    assert shares([900, 100], **arguments) == pytest.approx(expected)


@pytest.mark.parametrize("method", ["proportional", "uniform", "weights", "temperature", "annealed"])
def test_an_empty_group_is_never_drawn(method):
    assert shares([5, 0], method, weights=[1, 1])[1] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "temprature"}, "Unknown sampling 'temprature'; did you mean 'temperature'?"),
        ({"method": "weights"}, "a weight for each of the 2 groups"),
        ({"method": "weights", "weights": [0, 0]}, "not all 0"),
        ({"method": "weights", "weights": [-1, 2]}, "at least 0"),
        ({"method": "temperature", "temperature": 0}, "temperature is above 0; got 0"),
    ],
)
def test_settings_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        shares([5, 5], **arguments)


def test_counts_add_up_and_keep_the_shares():
    assert counts(np.array([1 / 3, 1 / 3, 1 / 3]), 10).tolist() == [4, 3, 3]
    assert counts(np.array([0.25, 0.75]), 8).tolist() == [2, 6]


def test_a_stream_holds_every_example_once_a_pass_in_a_new_order():
    stream = order(50, 0, 150, [3])
    passes = stream.reshape(3, 50)
    assert (np.sort(passes, axis=1) == np.arange(50)).all()
    assert not (passes[0] == passes[1]).all() and not (passes[1] == passes[2]).all()


def test_a_stream_can_be_entered_anywhere():
    stream = order(7, 0, 40, [1, 2])
    for start, count in [(0, 3), (5, 9), (13, 1), (14, 26), (39, 1), (3, 0)]:
        assert order(7, start, count, [1, 2]).tolist() == stream[start : start + count].tolist()
    assert order(7, 0, 40, [1, 3]).tolist() != stream.tolist()


def test_without_shuffling_the_order_is_that_of_the_source():
    assert order(4, 2, 5, [0], shuffle=False).tolist() == [2, 3, 0, 1, 2]
