"""The sum of gradients, none of which is longer than a bound."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from mtl.balancing.balancer import Balancer, values_by_task
from mtl.balancing.solvers.gramian import Gramian
from mtl.utils.arguments import checked

__all__ = ["Clipped"]


@keras.saving.register_keras_serializable("mtl")
class Clipped(Balancer):
    """Gradient clipping by task: `d = sum_t min(1, c_t / |g_t|) g_t`, of gradients with respect to the shared variables.

    A rare long gradient of one task cannot dominate the others, as it does where their sum is clipped. Gradients of heads are
    not clipped; the optimizer's `clipnorm` does that.

    Args:
        norm: maximal norm of a task's gradient, above 0.
        norms: task -> its bound, `inf` for none; `norm` for tasks not named.

    Raises:
        ValueError: a bound that is not above 0, or (from `bind`) an unknown task.

    Example:

    >>> import numpy as np, mtl
    >>> mtl.balancing.Clipped(norm=1.0).aggregate(np.array([[3.0, 4.0], [0.0, 0.5]])).numpy().round(5).tolist()
    [0.6, 1.3]

    Reference:
        Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks", ICML 2013, for one gradient.
    """

    needs = "gramian"
    by_task = ("norms",)

    @checked
    def __init__(self, norm: float = 1.0, norms: Mapping[str, float] | None = None):
        self.norm, self.norms = float(norm), {task: float(bound) for task, bound in (norms or {}).items()}
        for bound in (self.norm, *self.norms.values()):
            if not bound > 0:
                raise ValueError(f"Clipped expects bounds above 0; got {bound:g}.")

    def _solve(self, gramian: Gramian, losses: Any) -> Any:
        bounds = values_by_task(self.tasks, self.norms, self.norm, tf.float64)
        return tf.where(gramian.norms > bounds, bounds * gramian.inverse_norms, tf.ones_like(bounds))
