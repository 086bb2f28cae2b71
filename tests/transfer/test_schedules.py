import math

import keras
import pytest

from mtl.transfer import Warmup, warmup_schedule


def values(schedule, steps):
    return [float(schedule(step)) for step in steps]


def test_linear():
    # 10 steps, 2 of them rising: from the third on it falls by an eighth of 0.4 each step.
    schedule = warmup_schedule(0.4, steps=10, warmup=0.2)
    assert values(schedule, range(12)) == pytest.approx([0, 0.2, 0.4, 0.35, 0.3, 0.25, 0.2, 0.15, 0.1, 0.05, 0, 0], abs=1e-7)


def test_cosine():
    schedule = warmup_schedule(2.0, steps=8, warmup=0.5, decay="cosine")
    expected = [0, 0.5, 1.0, 1.5, 2.0, 1 + math.cos(math.pi / 4), 1.0, 1 + math.cos(3 * math.pi / 4), 0.0, 0.0]
    assert values(schedule, range(10)) == pytest.approx(expected, abs=1e-6)
    # Keras's own schedule with a warm-up is an independent implementation of the same.
    peer = keras.optimizers.schedules.CosineDecay(0.0, 4, warmup_target=2.0, warmup_steps=4)
    assert values(schedule, range(10)) == pytest.approx(values(peer, range(10)), abs=1e-6)


def test_constant_and_no_warmup():
    assert values(warmup_schedule(0.3, 4, 0.5, "constant"), range(5)) == pytest.approx([0, 0.15, 0.3, 0.3, 0.3])
    assert values(warmup_schedule(0.3, 4, 0.0, "constant"), range(3)) == pytest.approx([0.3, 0.3, 0.3])
    assert values(warmup_schedule(1.0, 4, 0.0), range(5)) == pytest.approx([1, 0.75, 0.5, 0.25, 0])


def test_the_share_is_rounded_and_leaves_a_step_to_fall():
    assert warmup_schedule(1.0, 15, 0.1).steps == 2
    assert warmup_schedule(1.0, 2, 0.9).steps == 1
    assert warmup_schedule(1.0, 1, 0.9).steps == 0


@pytest.mark.parametrize("decay", ["linear", "cosine", "constant"])
def test_it_comes_back_from_its_configuration(decay):
    schedule = warmup_schedule(0.4, 10, 0.3, decay)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert values(copy, range(11)) == values(schedule, range(11))


def test_any_schedule_can_follow():
    schedule = Warmup(keras.optimizers.schedules.ExponentialDecay(1.0, 1, 0.5), steps=2)
    assert values(schedule, range(5)) == pytest.approx([0, 0.5, 1, 0.5, 0.25])


def test_bad_arguments():
    with pytest.raises(ValueError, match="Unknown schedule 'linea'; did you mean 'linear'"):
        warmup_schedule(1.0, 10, decay="linea")
    with pytest.raises(ValueError, match="`warmup` as a number from 0 to below 1; got 100"):
        warmup_schedule(1.0, 10, warmup=100)
    with pytest.raises(ValueError, match="`steps` as a whole number from 1; got 0"):
        warmup_schedule(1.0, 0)
    with pytest.raises(ValueError, match="`steps` as a whole number from 0; got -1"):
        Warmup(1.0, -1)
