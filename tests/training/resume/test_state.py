import json
from typing import Any

import keras
import numpy as np
import pytest

from mtl.training.resume.state import KERAS, read_callbacks, read_variables, write_callbacks, write_variables


def test_variables_of_every_kind_come_back():
    kinds = {
        "float32": [1.5, -2.0],
        "bfloat16": [1.5, -2],
        "float16": [0.1, 7.0],
        "int64": [2**40, 3],
        "uint32": [2**32 - 1, 0],
    }
    variables = [keras.Variable(np.array(value), dtype=dtype, trainable=False, name="v") for dtype, value in kinds.items()]
    stored = {name: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape) for name, a in read_variables(variables).items()}
    # As a file gives bfloat16 back, of which NumPy knows only the size.
    stored = {name: a.view("V2") if str(a.dtype) == "bfloat16" else a for name, a in stored.items()}
    before = [keras.ops.convert_to_numpy(v.value).tobytes() for v in variables]
    for variable in variables:
        variable.assign(keras.ops.zeros_like(variable))
    write_variables([*variables, variables[0]], stored)
    assert [keras.ops.convert_to_numpy(v.value).tobytes() for v in variables] == before


@pytest.mark.parametrize(
    ("other", "what"), [([3], "'v' is not the same"), ([2, 1], "'v' is not the same"), ([], "it has more variables")]
)
def test_other_variables_are_refused(other, what):
    stored = read_variables([keras.Variable(np.zeros(2), name="v")])
    variables = [keras.Variable(np.zeros(size), name="v") for size in other]
    with pytest.raises(ValueError, match=f"of another model or optimizer: {what}"):
        write_variables(variables, stored)


class Remembering(keras.callbacks.Callback):
    value: Any = None

    def state(self):
        return {"value": self.value}

    def restore(self, state):
        self.value = state["value"]


def callbacks():
    return [
        Remembering(),
        keras.callbacks.EarlyStopping(),
        keras.callbacks.LambdaCallback(),
        Remembering(),
        keras.callbacks.History(),
    ]


def test_callbacks_take_their_state_back():
    a, stop, _, b, history = before = callbacks()
    a.value = {"list": [1, None, np.float32(0.1)], "weights": [np.ones(2), np.zeros((1, 1))]}
    b.value = "text"
    stop.wait, stop.stopped_epoch, stop.best, stop.best_epoch, stop.best_weights = 2, 0, 0.5, 1, [np.ones(3)]
    history.epoch, history.history = [0], {"loss": [0.25]}
    states, arrays = read_callbacks(before)
    assert sorted(states) == ["EarlyStopping-0", "History-0", "Remembering-0", "Remembering-1"]
    write_callbacks(after := callbacks(), states, arrays)
    assert after[0].value["list"] == [1, None, np.float32(0.1)] and after[0].value["list"][2].dtype == "float32"
    assert [each.tolist() for each in after[0].value["weights"]] == [[1.0, 1.0], [[0.0]]]
    assert (after[1].wait, after[1].best, after[1].best_weights[0].tolist()) == (2, 0.5, [1.0, 1.0, 1.0])
    assert after[3].value == "text" and after[4].history == {"loss": [0.25]} and after[4].epoch == [0]


def test_callbacks_take_bfloat16_back():
    callback = Remembering()
    callback.value = keras.ops.convert_to_numpy(keras.ops.cast([1.5, -2.0], "bfloat16"))
    states, arrays = read_callbacks([callback])
    # As a file gives it back.
    arrays = {name: np.frombuffer(array.tobytes(), "V2") for name, array in arrays.items()}
    write_callbacks([other := Remembering()], json.loads(json.dumps(states)), arrays)
    assert str(other.value.dtype) == "bfloat16" and other.value.tolist() == [1.5, -2.0]


@pytest.mark.parametrize("kind", KERAS, ids=lambda kind: kind.__name__)
def test_keras_callbacks_remember_what_is_named(kind):
    """A new Keras that renames it must not go unnoticed."""
    callback = kind(filepath="a.keras") if kind is keras.callbacks.ModelCheckpoint else kind()
    callback.set_model(keras.Sequential())
    callback.on_train_begin()
    assert set(KERAS[kind]) <= vars(callback).keys() | {"history"}


def test_what_a_plateau_waits_for_is_remembered():
    first, second = (keras.callbacks.ReduceLROnPlateau("loss", patience=1, cooldown=5) for _ in range(2))
    first.best, first.wait, first.cooldown_counter = 0.5, 1, 3
    write_callbacks([second], *read_callbacks([first]))
    assert (second.best, second.wait, second.cooldown_counter) == (0.5, 1, 3)


def test_other_callbacks_are_refused():
    states, arrays = read_callbacks([Remembering()])
    with pytest.raises(ValueError, match=r"beside the callbacks \['Remembering-0'\]; got \[\]"):
        write_callbacks([], states, arrays)
