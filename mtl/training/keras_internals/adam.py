"""Adam's update as one operation a variable."""

from typing import Any

import keras
import tensorflow as tf

from mtl.training.keras_internals.optimizer_internals import moments_of, optimizers_in, step_by, trained_by

__all__ = ["adam_in_one_pass"]


def adam_in_one_pass(optimizer: Any) -> None:
    """Has Keras's Adam, and what derives from it, go over each variable once, where their own way takes some ten passes.

    `m += (g - m)(1 - b1); v += (g^2 - v)(1 - b2); w -= rate sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps)`

    Args:
        optimizer: a built optimizer, or a wrapper around some. Other optimizers stay as they are, and so does Adam with
            `amsgrad`, or of variables that are not all float32.
    """
    for each in optimizers_in(optimizer):
        adam = isinstance(each, keras.optimizers.Adam) and not each.amsgrad
        if adam and all(variable.dtype == "float32" for variable in trained_by(each)):
            step_by(each, keras.optimizers.Adam, _step)


def _step(optimizer: Any, gradient: Any, variable: Any, learning_rate: Any) -> None:
    weight, momentum, velocity = moments_of(optimizer, variable)
    steps = tf.cast(tf.convert_to_tensor(optimizer.iterations) + 1, tf.float32)  # With accumulation it is no variable.
    tf.raw_ops.ResourceApplyAdam(
        var=weight.handle,
        m=momentum.handle,
        v=velocity.handle,
        beta1_power=tf.pow(optimizer.beta_1, steps),
        beta2_power=tf.pow(optimizer.beta_2, steps),
        lr=tf.cast(learning_rate, tf.float32),
        beta1=optimizer.beta_1,
        beta2=optimizer.beta_2,
        epsilon=optimizer.epsilon,
        grad=tf.convert_to_tensor(gradient),
    )
