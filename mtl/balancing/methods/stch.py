"""Smooth maximum of the losses."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from mtl.balancing.balancer import Balancer, check_range, check_whole, values_by_task
from mtl.balancing.solvers.simplex import portion, softmax
from mtl.utils.arguments import checked

__all__ = ["STCH"]


@keras.saving.register_keras_serializable("mtl")
class STCH(Balancer):
    """Smooth Tchebycheff scalarization: `L = mu logsumexp_t(lambda_t (L_t / n_t - z_t) / mu)`, close to the largest term.

    In the first `warmup_steps` training steps `L = sum_t log L_t`, and each task's mean loss over them becomes its nadir `n_t`;
    without a warm-up, `n_t = 1`.

    Args:
        mu: smoothness of the maximum.
        preferences: task -> `lambda_t`, 1 for tasks not named; they are scaled to sum to 1 over the active tasks.
        ideals: task -> `z_t`, the target loss, in units of the nadir; 0 for tasks not named.
        warmup_steps: number of warm-up steps.

    Example:

    >>> import mtl
    >>> round(float(mtl.balancing.STCH(mu=0.01).combine([2.0, 8.0])), 5)  # 8 / 2
    4.0

    Reference:
        Lin, Zhang, Yang, Liu, Wang and Zhang, "Smooth Tchebycheff Scalarization for Multi-Objective Optimization", ICML 2024. The
        warm-up is that of the authors' code, which then takes the logarithm of the losses as well; this follows the paper.
    """

    by_task = ("preferences", "ideals")

    @checked
    def __init__(
        self,
        mu: float = 1.0,
        preferences: Mapping[str, float] | None = None,
        ideals: Mapping[str, float] | None = None,
        warmup_steps: int = 0,
    ):
        self.mu = check_range(self, "mu", mu, 0.0, open="(")
        self.preferences, self.ideals = dict(preferences or {}), dict(ideals or {})
        for task, value in self.preferences.items():
            check_range(self, f"preferences['{task}']", value, 0.0, open="(")
        for task, value in self.ideals.items():
            check_range(self, f"ideals['{task}']", value, float("-inf"))
        self.warmup_steps = check_whole(self, "warmup_steps", warmup_steps)

    def _make_state(self, count: int) -> None:
        self._step = self.state.add("step", dtype="int64")
        self._total, self._seen = self.state.add("total", [count]), self.state.add("seen", [count])

    def _combine(self, losses: Any, active: Any, training: bool) -> Any:
        dtype, step = losses.dtype, tf.identity(tf.convert_to_tensor(self._step))
        total, seen = tf.convert_to_tensor(self._total), tf.convert_to_tensor(self._seen)
        nadir = tf.cast(tf.where((seen > 0) & (total > 0), tf.math.divide_no_nan(total, seen), tf.ones_like(total)), dtype)
        shares, _ = portion(values_by_task(self.tasks, self.preferences, 1.0, dtype), active)
        terms = shares * (losses / nadir - values_by_task(self.tasks, self.ideals, 0.0, dtype)) / self.mu
        largest = tf.stop_gradient(tf.reduce_max(tf.where(active, terms, dtype.min * tf.ones_like(terms))))
        largest = tf.where(tf.reduce_any(active), largest, tf.zeros_like(largest))
        powers = tf.where(active, tf.exp(tf.where(active, terms - largest, 0)), 0)
        count = tf.reduce_sum(powers)
        smooth = self.mu * (largest + tf.math.log(tf.where(count > 0, count, tf.ones_like(count))))
        usable = active & (losses > 1e-20)
        safe = tf.where(usable, losses, tf.fill(tf.shape(losses), tf.constant(1e-20, dtype)))
        logs = tf.reduce_sum(tf.where(active, tf.math.log(safe), 0))
        warming = step < self.warmup_steps
        if training:
            first = tf.cast(warming & active, tf.float32)
            self._keep(self._step, step + 1)
            self._keep(self._total, total + first * tf.cast(tf.stop_gradient(losses), tf.float32))
            self._keep(self._seen, seen + first)
            weights = tf.where(warming, tf.where(usable, 1.0 / safe, 0), softmax(terms, active) * shares / nadir)
            self._show(weights, active)
        return tf.where(warming, logs, smooth)
