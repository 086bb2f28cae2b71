"""What the engine takes from Keras's optimizers."""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras.src.backend.tensorflow.optimizer import TFOptimizer
from keras.src.optimizers.base_optimizer import BaseOptimizer

__all__ = [
    "UPDATES",
    "accumulating_steps",
    "added_variable",
    "build",
    "built_optimizers_in",
    "iterations_of",
    "optimizers_in",
    "slots_of_adam",
    "spare_from_decay",
    "state_of",
    "trained_by",
    "unscaled",
    "update_each_replica",
]


def optimizers_in(optimizer: Any) -> list[Any]:
    """The optimizers that update variables: those inside a wrapper, or the optimizer itself."""
    optimizer = unscaled(optimizer)
    return list(optimizer.optimizers) if isinstance(optimizer, keras.optimizers.MultiOptimizer) else [optimizer]


def unscaled(optimizer: Any) -> Any:
    """The optimizer that a loss scale wraps, or the optimizer itself."""
    return optimizer.inner_optimizer if isinstance(optimizer, keras.optimizers.LossScaleOptimizer) else optimizer


def trained_by(optimizer: Any) -> list[keras.Variable]:
    """The variables that an optimizer was built for."""
    return optimizer._trainable_variables


def state_of(optimizer: Any) -> list[Any]:
    """What an optimizer holds of its own: lists and dicts of variables, without those it trains and the list of all."""
    return [
        value
        for value in vars(optimizer).values()
        if value is not optimizer._trainable_variables and value is not optimizer._variables
    ]


def iterations_of(optimizer: Any) -> keras.Variable:
    """The number of batches that an optimizer, or the first of several, has seen, those that it only accumulated included."""
    return built_optimizers_in(optimizer)[0]._iterations


def built_optimizers_in(optimizer: Any) -> list[Any]:
    """The optimizers that update variables and have some; all of them before they are built."""
    inner = optimizers_in(optimizer)
    return [each for each in inner if each.built] or inner


def accumulating_steps(optimizer: Any) -> int:
    """How many batches make an update of one optimizer."""
    return optimizer.gradient_accumulation_steps or 1


def build(optimizer: Any, variables: Sequence[keras.Variable]) -> None:
    """Makes an optimizer's variables, without those that Keras would accumulate gradients in.

    Where several batches make an update, the optimizer is given the gradient of all of them and has only to apply it.
    """
    inner = optimizers_in(optimizer)
    steps = [each.gradient_accumulation_steps for each in inner]
    try:
        for each in inner:
            each.gradient_accumulation_steps = None
        if not optimizer.built:
            optimizer.build(variables)
    finally:
        for each, count in zip(inner, steps, strict=True):
            each.gradient_accumulation_steps = count
            if count:
                each._backend_apply_gradients = functools.partial(_apply_here, each)


def _apply_here(optimizer: Any, gradients: Any, variables: Any) -> None:
    """As Keras applies gradients that it does not accumulate. Averages of weights then move once for each update."""
    gradients = optimizer._clip_gradients(gradients)
    optimizer._apply_weight_decay(variables)
    optimizer._backend_update_step(gradients, variables, optimizer.learning_rate)
    if optimizer.use_ema:
        optimizer._update_model_variables_moving_average(optimizer._trainable_variables)
        if optimizer.ema_overwrite_frequency:
            tf.cond(
                tf.equal((optimizer.iterations + 1) % optimizer.ema_overwrite_frequency, 0),
                lambda: optimizer._overwrite_model_variables_with_average_value(optimizer._trainable_variables),
                lambda: None,
            )


def added_variable(optimizer: Any, name: str, shape: Sequence[int]) -> keras.Variable:
    """A float32 variable of an optimizer, saved with it; the one that it has, where it has one of this name and shape."""
    for variable in optimizer._variables:
        if variable.name == name and tuple(variable.shape) == tuple(shape):
            return variable
    return optimizer.add_variable(tuple(shape), "zeros", dtype="float32", name=name)


def spare_from_decay(optimizer: Any, variables: Iterable[keras.Variable]) -> None:
    """Has an optimizer leave some variables out of its weight decay, beside those that it leaves out already."""
    for each in optimizers_in(optimizer):
        spared: set[str] = getattr(each, "_exclude_from_weight_decay", set())
        each._exclude_from_weight_decay = spared | {each._var_key(variable) for variable in variables}
        each._exclude_from_weight_decay_cache = {}


def slots_of_adam(optimizer: Any, variable: Any) -> tuple[keras.Variable, keras.Variable, keras.Variable]:
    """A variable that Adam trains, and the running means of its gradients and of their squares."""
    index = optimizer._get_variable_index(variable)
    return optimizer._trainable_variables[index], optimizer._momentums[index], optimizer._velocities[index]


def update_each_replica(optimizer: Any) -> None:
    """Has an optimizer update each replica's copy of the variables, where the replicas already hold the same gradients.

    Keras's own way adds up the gradients once more, after clipping them, and lets the replicas meet in places where TensorFlow
    has no way to: inside the conditions of gradient accumulation and of averages that overwrite weights.
    """
    for name, here in UPDATES.items():
        keras_own = getattr(TFOptimizer, name)
        if keras_own.__module__ != __name__:
            setattr(TFOptimizer, name, _unless_marked(keras_own, here, "_updates_each_replica"))
    for each in optimizers_in(optimizer):
        each._updates_each_replica = True


def _unless_marked(keras_own: Callable[..., Any], here: Callable[..., Any], mark: str) -> Callable[..., Any]:
    """Keras's method for all optimizers that are not marked. It is in the class, as some optimizers' methods go on to it."""

    @functools.wraps(keras_own, assigned=("__name__", "__qualname__", "__doc__"))
    def method(optimizer: Any, *args: Any) -> Any:
        return (here if getattr(optimizer, mark, False) else keras_own)(optimizer, *args)

    return method


def _update_here(optimizer: Any, gradients: Any, variables: Any, learning_rate: Any) -> None:
    for gradient, variable in zip(gradients, variables, strict=True):
        optimizer.update_step(gradient, variable.value, learning_rate)


#: Where Keras's optimizers for TensorFlow go through the strategy, and what they do instead on each replica.
UPDATES = {
    "_backend_update_step": _update_here,
    **{
        name: getattr(BaseOptimizer, name)
        for name in (
            "_apply_weight_decay",
            "_backend_increment_gradient_accumulators",
            "_overwrite_model_variables_with_average_value",
        )
    },
}
