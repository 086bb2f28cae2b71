"""Adam for weights of tasks that no Keras optimizer trains."""

from typing import Any

import tensorflow as tf

__all__ = ["Adam"]


class Adam:
    """Adam over one vector of the balancer's state, with a separate step count per task.

    Args:
        state: a `State`, which will hold the averages.
        count: K.
        rate: the learning rate.
        decay: weight decay, added to the gradient.

    Reference:
        Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015.
    """

    def __init__(self, state: Any, count: int, rate: float, decay: float = 0.0):
        self.rate, self.decay = rate, decay
        self.steps = state.add("adam_steps", [count])
        self.mean = state.add("adam_mean", [count])
        self.square = state.add("adam_square", [count])

    def step(self, keep: Any, value: Any, gradient: Any, active: Any) -> Any:
        """Return the value after a step, `[K]`; entries of tasks that are not active stay unchanged.

        Args:
            keep: function that assigns a value to a variable.
            value: `[K]`, of any float dtype.
            gradient: `[K]`, of any float dtype.
            active: bool `[K]`.
        """
        dtype = value.dtype
        gradient = gradient + self.decay * value
        old = [tf.cast(tf.convert_to_tensor(each), dtype) for each in (self.steps, self.mean, self.square)]
        steps, mean, square = old[0] + 1.0, 0.9 * old[1] + 0.1 * gradient, 0.999 * old[2] + 0.001 * gradient**2
        one = tf.ones([], dtype)
        moved = value - self.rate * (mean / (one - 0.9**steps)) / (tf.sqrt(square / (one - 0.999**steps)) + 1e-8)
        for variable, new, before in zip((self.steps, self.mean, self.square), (steps, mean, square), old, strict=True):
            keep(variable, tf.where(active, new, before))
        return tf.where(active, moved, value)
