"""Random numbers of a balancer, which depend on the seed and step only: eager, in a graph, and after loading."""

from typing import Any

import tensorflow as tf

__all__ = ["Rng"]


class Rng:
    """Seed and, as a variable of the balancer's state, the count of draws."""

    def __init__(self, state: Any, seed: int):
        self.seed = seed
        self.drawn = state.add("drawn", dtype="int64")

    def next(self, keep: Any) -> Any:
        """Return the seed of the next draw, for TensorFlow's stateless functions; `keep` assigns a variable."""
        number = tf.identity(tf.convert_to_tensor(self.drawn))
        keep(self.drawn, number + 1)
        return tf.stack([tf.constant(self.seed, tf.int64), number])
