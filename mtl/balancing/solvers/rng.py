"""Random numbers of a balancer: the same for the same seed and step, eager or in a graph, before and after loading."""

from typing import Any

import tensorflow as tf

__all__ = ["Rng"]


class Rng:
    """A seed, and the number of the draw as a variable of the balancer's state."""

    def __init__(self, state: Any, seed: int):
        self.seed = seed
        self.drawn = state.add("drawn", dtype="int64")

    def next(self, keep: Any) -> Any:
        """The seed of one draw, for TensorFlow's stateless functions; `keep` sets a variable to a value."""
        number = tf.identity(tf.convert_to_tensor(self.drawn))
        keep(self.drawn, number + 1)
        return tf.stack([tf.constant(self.seed, tf.int64), number])
