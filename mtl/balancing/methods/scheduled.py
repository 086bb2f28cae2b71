"""Weights that are functions of the step."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from mtl.balancing.balancer import Balancer
from mtl.utils.arguments import checked

__all__ = ["Scheduled"]


@keras.saving.register_keras_serializable("mtl")
class Scheduled(Balancer):
    """Weights that are functions of the step: `L = sum_t w_t(step) L_t`, where steps are counted from 0.

    Args:
        schedules: task -> a number, or points `[[step, weight], ...]`, interpolated linearly, constant before the first and after
            the last; 1 for tasks not named.

    Raises:
        ValueError: points out of order, a negative weight, or (from `bind`) an unknown task.

    Example:

    >>> import mtl
    >>> balancer = mtl.balancing.Scheduled({"a": [[0, 0.0], [2, 1.0]]})
    >>> balancer.bind(["a", "b"])
    >>> [float(balancer.combine([1.0, 4.0])) for step in range(4)]
    [4.0, 4.5, 5.0, 5.0]
    """

    by_task = ("schedules",)

    @checked
    def __init__(self, schedules: Mapping[str, float | Sequence[Sequence[float]]] | None = None):
        self.schedules = {task: _points(task, schedule) for task, schedule in (schedules or {}).items()}

    def _make_state(self, count: int) -> None:
        self._step = self.state.add("step", dtype="int64")

    def _combine(self, losses: Any, active: Any, training: bool) -> Any:
        step = tf.cast(tf.convert_to_tensor(self._step), tf.float64)
        weights = tf.cast(tf.stack([_at(step, self.schedules.get(task, [[0.0, 1.0]])) for task in self.tasks]), losses.dtype)
        if training:
            self._keep(self._step, tf.convert_to_tensor(self._step) + 1)
            self._show(weights, active)
        return tf.reduce_sum(weights * losses)


def _points(task: str, schedule: float | Sequence[Sequence[float]]) -> list[list[float]]:
    points = [[0.0, float(schedule)]] if isinstance(schedule, (int, float)) else [[float(x) for x in each] for each in schedule]
    steps = [each[0] for each in points if len(each) == 2]
    if not points or len(steps) < len(points) or any(a >= b for a, b in zip(steps, steps[1:], strict=False)):
        raise ValueError(f"Scheduled expects points [step, weight] with rising steps; got {schedule!r} for task '{task}'.")
    if any(not 0 <= weight < float("inf") for _, weight in points):
        raise ValueError(f"Scheduled expects finite weights of at least 0; got {schedule!r} for task '{task}'.")
    return points


def _at(step: Any, points: list[list[float]]) -> Any:
    """Return the value of a piecewise linear function."""
    height = tf.constant(points[0][1], tf.float64)
    for (start, low), (end, high) in zip(points, points[1:], strict=False):
        height += (high - low) * tf.clip_by_value((step - start) / (end - start), 0.0, 1.0)
    return height
