"""Internals of Keras's optimizers that the engine uses."""

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
    """Return the optimizers that update variables: those inside a wrapper, or the optimizer itself."""
    optimizer = unscaled(optimizer)
    return list(optimizer.optimizers) if isinstance(optimizer, keras.optimizers.MultiOptimizer) else [optimizer]


def unscaled(optimizer: Any) -> Any:
    """Return the optimizer inside a loss scale, or the optimizer itself."""
    return optimizer.inner_optimizer if isinstance(optimizer, keras.optimizers.LossScaleOptimizer) else optimizer


def trained_by(optimizer: Any) -> list[keras.Variable]:
    """Return the variables that an optimizer was built for."""
    return optimizer._trainable_variables


def state_of(optimizer: Any) -> list[Any]:
    """Return an optimizer's attributes, such as lists of its variables, without those that it trains and the list of all."""
    return [
        value
        for value in vars(optimizer).values()
        if value is not optimizer._trainable_variables and value is not optimizer._variables
    ]


def iterations_of(optimizer: Any) -> keras.Variable:
    """Return the number of batches that an optimizer, or the first of several, has counted, accumulated ones included."""
    return built_optimizers_in(optimizer)[0]._iterations


def built_optimizers_in(optimizer: Any) -> list[Any]:
    """Return the optimizers that have variables to update; all of them before they are built."""
    optimizers = optimizers_in(optimizer)
    return [inner for inner in optimizers if inner.built] or optimizers


def accumulating_steps(optimizer: Any) -> int:
    """Return the number of batches per update of one optimizer."""
    return optimizer.gradient_accumulation_steps or 1


def build(optimizer: Any, variables: Sequence[keras.Variable]) -> None:
    """Create an optimizer's variables, without those in which Keras would accumulate gradients.

    If an update has several batches, the optimizer gets the gradient of all of them and only applies it.
    """
    optimizers = optimizers_in(optimizer)
    steps = [inner.gradient_accumulation_steps for inner in optimizers]
    try:
        for inner in optimizers:
            inner.gradient_accumulation_steps = None
        if not optimizer.built:
            optimizer.build(variables)
    finally:
        for inner, count in zip(optimizers, steps, strict=True):
            inner.gradient_accumulation_steps = count
            if count:
                inner._backend_apply_gradients = functools.partial(_apply_whole, inner)


def _apply_whole(optimizer: Any, gradients: Any, variables: Any) -> None:
    """Apply gradients as Keras does without accumulation, so that averages of weights move once per update."""
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
    """Return a float32 variable of an optimizer, saved with it: the one of this name and shape, or a new one."""
    for variable in optimizer._variables:
        if variable.name == name and tuple(variable.shape) == tuple(shape):
            return variable
    return optimizer.add_variable(tuple(shape), "zeros", dtype="float32", name=name)


def spare_from_decay(optimizer: Any, variables: Iterable[keras.Variable]) -> None:
    """Exclude some variables from an optimizer's weight decay, besides those that are excluded already."""
    for inner in optimizers_in(optimizer):
        excluded: set[str] = getattr(inner, "_exclude_from_weight_decay", set())
        inner._exclude_from_weight_decay = excluded | {inner._var_key(variable) for variable in variables}
        inner._exclude_from_weight_decay_cache = {}


def slots_of_adam(optimizer: Any, variable: Any) -> tuple[keras.Variable, keras.Variable, keras.Variable]:
    """Return a variable that Adam trains, and the running means of its gradients and of their squares."""
    index = optimizer._get_variable_index(variable)
    return optimizer._trainable_variables[index], optimizer._momentums[index], optimizer._velocities[index]


def update_each_replica(optimizer: Any) -> None:
    """Let an optimizer update each replica's copy of the variables separately; the replicas have the same gradients already.

    Keras would sum the gradients again, after clipping, and synchronise the replicas inside conditions (of gradient accumulation,
    and of averages that overwrite weights), where TensorFlow cannot.
    """
    for name, per_replica in UPDATES.items():
        keras_own = getattr(TFOptimizer, name)
        if keras_own.__module__ != __name__:
            setattr(TFOptimizer, name, _unless_marked(keras_own, per_replica))
    for inner in optimizers_in(optimizer):
        inner._updates_each_replica = True


def _unless_marked(keras_own: Callable[..., Any], per_replica: Callable[..., Any]) -> Callable[..., Any]:
    """Return Keras's method for optimizers without the mark, and another for those with it.

    The method is set on the class, not the instance, because methods of some optimizers call it through `super()`.
    """

    @functools.wraps(keras_own, assigned=("__name__", "__qualname__", "__doc__"))
    def method(optimizer: Any, *args: Any) -> Any:
        return (per_replica if getattr(optimizer, "_updates_each_replica", False) else keras_own)(optimizer, *args)

    return method


def _update_replica(optimizer: Any, gradients: Any, variables: Any, learning_rate: Any) -> None:
    for gradient, variable in zip(gradients, variables, strict=True):
        optimizer.update_step(gradient, variable.value, learning_rate)


#: Methods of Keras's optimizers for TensorFlow that use the strategy -> their replacements on each replica.
UPDATES = {
    "_backend_update_step": _update_replica,
    **{
        name: getattr(BaseOptimizer, name)
        for name in (
            "_apply_weight_decay",
            "_backend_increment_gradient_accumulators",
            "_overwrite_model_variables_with_average_value",
        )
    },
}
