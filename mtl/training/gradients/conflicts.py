"""Norms of the tasks' gradients and the cosines between them."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

__all__ = ["Conflicts"]


class Conflicts(keras.metrics.Metric):
    """Norms of the tasks' gradients, cosines between them, and cosines between them and the update.

    All are means over the steps in which the tasks were active. Two tasks conflict in a step if their cosine is below 0.

    Args:
        tasks: names of the K tasks.

    Example:

    >>> import numpy as np
    >>> conflicts = Conflicts(["a", "b"])
    >>> conflicts.accumulate(np.array([[4.0, -3.0], [-3.0, 9.0]]), [1.0, 6.0], 7.0, [True, True])  # The update is their sum.
    >>> found = conflicts.read()
    >>> found["norms"].tolist(), found["cosines"].tolist(), float(found["conflicting"])
    ([2.0, 3.0], [[1.0, -0.5], [-0.5, 1.0]], 1.0)
    """

    def __init__(self, tasks: Sequence[str], name: str = "conflicts", **kwargs: Any):
        super().__init__(name=name, **kwargs)
        self.tasks = tuple(tasks)
        count = len(self.tasks)
        shapes = {"norms": [count], "slopes": [count], "steps": [count], "cosines": [count, count], "below": [count, count]}
        self._sums = {name: self._total(name, shape) for name, shape in {**shapes, "together": [count, count]}.items()}

    def _total(self, name: str, shape: list[int]) -> keras.Variable:
        # Added values are the same on every replica.
        return self.add_variable(shape, "zeros", dtype="float32", aggregation="only_first_replica", name=name)

    def accumulate(self, gramian: Any, slopes: Any, squared_norm: Any, active: Any) -> None:
        """Add a step; one that is not finite is skipped.

        Args:
            gramian: the products of the tasks' gradients, `[K, K]`.
            slopes: the products of the tasks' gradients with the update, `[K]`.
            squared_norm: the squared norm of the update.
            active: whether each task had a labelled row, bool `[K]`.
        """
        gramian, slopes, squared_norm = (tf.cast(value, tf.float32) for value in (gramian, slopes, squared_norm))
        norms = tf.sqrt(tf.maximum(tf.linalg.diag_part(gramian), 0.0))
        numbers = tf.concat([tf.reshape(gramian, [-1]), slopes, [squared_norm]], axis=0)
        counted = tf.cast(tf.cast(active, tf.bool) & tf.reduce_all(tf.math.is_finite(numbers)), tf.float32)
        pairs = counted[:, None] * counted[None, :]
        cosines = tf.clip_by_value(tf.math.divide_no_nan(gramian, norms[:, None] * norms[None, :]), -1.0, 1.0)
        towards = tf.clip_by_value(tf.math.divide_no_nan(slopes, norms * tf.sqrt(tf.maximum(squared_norm, 0.0))), -1.0, 1.0)
        step = {"norms": norms, "slopes": towards, "steps": tf.ones_like(counted)}
        between = {"cosines": cosines, "below": tf.cast(cosines < 0.0, tf.float32), "together": tf.ones_like(pairs)}
        for name, value in {**step, **between}.items():
            self._sums[name].assign_add(tf.math.multiply_no_nan(value, counted if value.shape.rank == 1 else pairs))

    def read(self) -> dict[str, np.ndarray]:
        """Return the means so far, NaN where a task, or a pair, was never active.

        Returns:
            `norms` of the gradients `[K]`; `update`, the cosines between the update and each task's gradient `[K]`; `cosines`
            `[K, K]`; `conflicting`, the share of pairs whose cosine was below 0.
        """
        sums = {name: keras.ops.convert_to_numpy(value) for name, value in self._sums.items()}
        steps, together = sums["steps"], sums["together"]
        others = ~np.eye(len(self.tasks), dtype=bool)
        with np.errstate(invalid="ignore", divide="ignore"):
            return {
                "norms": sums["norms"] / steps,
                "update": sums["slopes"] / steps,
                "cosines": sums["cosines"] / together,
                "conflicting": np.float32(sums["below"][others].sum() / together[others].sum()),
            }

    def update_state(self, gramian: Any, slopes: Any, squared_norm: Any, active: Any) -> None:
        self.accumulate(gramian, slopes, squared_norm, active)

    def result(self) -> dict[str, Any]:
        """Return nothing, so that `fit` logs nothing."""
        return {}
