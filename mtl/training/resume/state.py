"""State of a training: variables, callbacks and history."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

__all__ = ["read_callbacks", "read_variables", "whole_states", "write_callbacks", "write_variables"]

#: Attributes of Keras's callbacks that are kept from epoch to epoch.
KERAS = {
    keras.callbacks.EarlyStopping: ("wait", "stopped_epoch", "best", "best_weights", "best_epoch"),
    keras.callbacks.History: ("epoch", "history"),
    keras.callbacks.ModelCheckpoint: ("best", "_batches_seen_since_last_saving", "_last_batch_seen"),
    keras.callbacks.ReduceLROnPlateau: ("wait", "best", "cooldown_counter"),
    keras.callbacks.SwapEMAWeights: ("_ema_weights_in_model",),
}


def read_variables(variables: Iterable[keras.Variable]) -> dict[str, np.ndarray]:
    """Return the values of variables by index, as names of layers and optimizers differ between processes."""
    return {name: tf.convert_to_tensor(variable.value).numpy() for name, variable in _numbered(variables).items()}


def write_variables(variables: Iterable[keras.Variable], values: Mapping[str, np.ndarray]) -> None:
    """Set variables to the values that `read_variables` returned.

    Raises:
        ValueError: the values are those of another model.
    """
    numbered = _numbered(variables)
    stored = {name: value.shape for name, value in values.items() if name.startswith("variable/")}
    if stored != (mine := {name: tuple(variable.shape) for name, variable in numbered.items()}):
        other = next((name for name in mine if mine[name] != stored.get(name)), "")
        what = f"'{numbered[other].path}' is not the same in both" if other else "it has more variables"
        raise ValueError(
            f"The checkpoint is of another model or optimizer: {what}. "
            "Give Checkpoint another folder, or delete this one to begin anew."
        )
    for name, variable in numbered.items():
        value = values[name]
        variable.assign(value.view(variable.dtype) if value.dtype.kind == "V" else value)  # NumPy knows no bfloat16.


def _numbered(variables: Iterable[keras.Variable]) -> dict[str, keras.Variable]:
    unique = {id(variable): variable for variable in variables}
    return {f"variable/{number}": variable for number, variable in enumerate(unique.values())}


# Callbacks ----------------------------------------------------------------------------------------------------------------


def read_callbacks(callbacks: Sequence[Any]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the callbacks' states as plain data by name, and the arrays that the states refer to.

    A user's callback returns its state from `state() -> dict` and takes it in `restore(state)`.
    """
    arrays: dict[str, np.ndarray] = {}

    def plain(value: Any, route: str) -> Any:
        if isinstance(value, (np.ndarray, np.generic)):
            arrays[route] = np.asarray(value)
            return {"array": route, "dtype": arrays[route].dtype.name}
        if isinstance(value, Mapping):
            return {"dict": {str(key): plain(item, f"{route}/{key}") for key, item in value.items()}}
        if isinstance(value, (list, tuple)):
            return [plain(item, f"{route}/{i}") for i, item in enumerate(value)]
        return value

    return {name: plain(_state(callback), f"callback/{name}") for name, callback in _remembering(callbacks)}, arrays


def whole_states(states: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """Return the states of `read_callbacks`, with the arrays inserted.

    Raises:
        KeyError, TypeError, ValueError: the states are not results of `read_callbacks`.
    """

    def whole(value: Any) -> Any:
        if isinstance(value, Mapping) and "array" in value:
            array = arrays[value["array"]]
            return (array.view(value["dtype"]) if array.dtype.kind == "V" else array)[()]  # NumPy knows no bfloat16.
        if isinstance(value, Mapping):
            return {key: whole(part) for key, part in dict(value["dict"]).items()}
        return [whole(part) for part in value] if isinstance(value, list) else value

    return {name: dict(whole(state)) for name, state in dict(states).items()}


def write_callbacks(callbacks: Sequence[Any], states: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Restore the states that `read_callbacks` returned.

    Raises:
        ValueError: the callbacks are not the same, or one of them rejects its state.
    """
    named = dict(_remembering(callbacks))
    if named.keys() != states.keys():
        raise ValueError(
            f"The checkpoint was written beside the callbacks {sorted(states)}; got {sorted(named)}. "
            "Give fit the same callbacks, or Checkpoint another folder."
        )
    for name, state in whole_states(states, arrays).items():
        try:
            if _own(callback := named[name]):
                callback.restore(state)
            else:
                vars(callback).update({key: state[key] for key in _names(callback)})
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"The checkpoint's state of the callback {name} is not what that gives: {type(error).__name__}: {error}. "
                "Delete this checkpoint to go on from the one before."
            ) from error


def _remembering(callbacks: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Yield the callbacks that have a state, by class and number."""
    counts: dict[str, int] = {}
    for callback in callbacks:
        if _own(callback) or isinstance(callback, tuple(KERAS)):
            name = type(callback).__name__
            counts[name] = counts.get(name, -1) + 1
            yield f"{name}-{counts[name]}", callback


def _state(callback: Any) -> dict[str, Any]:
    if _own(callback):
        return callback.state()
    return {name: getattr(callback, name) for name in _names(callback)}


def _names(callback: Any) -> tuple[str, ...]:
    return next(names for kind, names in KERAS.items() if isinstance(callback, kind))


def _own(callback: Any) -> bool:
    """Return whether a callback has `state` and `restore`."""
    return hasattr(callback, "state") and hasattr(callback, "restore")
