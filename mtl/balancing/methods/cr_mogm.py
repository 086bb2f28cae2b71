"""Another method's weights, averaged over steps."""

from collections.abc import Sequence
from typing import Any, Self

import keras
import tensorflow as tf

from mtl.balancing.balancer import Balancer, check_range
from mtl.balancing.solvers.gramian import Gramian
from mtl.utils.arguments import checked
from mtl.utils.configs import check_config

__all__ = ["CRMOGM"]


@keras.saving.register_keras_serializable("mtl")
class CRMOGM(Balancer):
    """Correlation-reduced multi-objective gradient: moving averages of the weights that another method finds.

    `a_t <- momentum a_t + (1 - momentum) w_t`, from the first `w_t`, so that weights depend less on the batch that they weight.
    The weights of a method on losses are the derivatives of its loss.

    Args:
        balancer: any other method without trained variables.
        momentum: the share of the old average that is kept.

    Raises:
        ValueError: (from `bind`) the method has trained variables.

    Example:

    >>> import numpy as np, mtl
    >>> balancer = mtl.balancing.CRMOGM(mtl.balancing.MGDA(), momentum=0.5)
    >>> gramians = [[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 4.0]]  # MGDA's weights: (0.5, 0.5), (0.8, 0.2)
    >>> [balancer.weights(np.array(gramian)).numpy().round(5).tolist() for gramian in gramians]
    [[0.5, 0.5], [0.65, 0.35]]

    Reference:
        Zhou, Zhang, Jiang, Zhong, Gu and Zhu, "On the Convergence of Stochastic Multi-Objective Gradient Manipulation and
        Beyond", NeurIPS 2022.
    """

    @checked
    def __init__(self, balancer: Balancer, momentum: float = 0.9):
        self.balancer, self.momentum = balancer, check_range(self, "momentum", momentum, 0.0, 1.0, open=")")
        for name in ("needs", "uses_losses", "tracks_gradients", "looks_ahead", "counts_epochs", "uses_metrics", "batches"):
            setattr(self, name, getattr(balancer, name))

    @property
    def bound(self) -> bool:
        return super().bound or self.balancer.bound

    def _connect(self, tasks: tuple[str, ...], size: int | None) -> None:
        self.balancer.bind(tasks, size)
        super()._connect(tasks, size)
        if self.balancer.state.trainable_variables:
            raise ValueError(f"CRMOGM averages weights, and {type(self.balancer).__name__} learns its own; use that alone.")
        self._average, self._seen = self.state.add("average", [len(tasks)]), self.state.add("seen", [len(tasks)])
        self.state.inner = self.balancer.state

    def subset(self, tasks: Sequence[str]) -> "CRMOGM":
        return CRMOGM(self.balancer.subset(tasks), self.momentum)

    def after_step(self, losses: Any, active: Any = None) -> None:
        self.balancer.after_step(losses, active)

    def after_epoch(self) -> None:
        self.balancer.after_epoch()

    def observe(self, metrics: Any, active: Any = None) -> None:
        self._begin(tf.cast(metrics, tf.float32), active)
        self.balancer.observe(metrics, active)

    def get_config(self) -> dict[str, Any]:
        return {"balancer": keras.saving.serialize_keras_object(self.balancer), "momentum": self.momentum}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        check_config(config, cls.__name__)
        return cls(keras.saving.deserialize_keras_object(config["balancer"]), config["momentum"])

    def _averaged(self, weights: Any, active: Any, training: bool = True) -> Any:
        seen = tf.identity(tf.convert_to_tensor(self._seen)) > 0
        old = tf.cast(tf.identity(tf.convert_to_tensor(self._average)), weights.dtype)
        average = tf.where(seen, self.momentum * old + (1.0 - self.momentum) * weights, weights)
        if training:
            self._keep(self._average, tf.where(active, average, old))
            self._keep(self._seen, tf.cast(seen | active, tf.float32))
        return tf.where(active, average, tf.zeros_like(average))

    def _combine(self, losses: Any, active: Any, training: bool) -> Any:
        if self.needs != "losses":
            return self.balancer.combine(losses, active, training)
        given = tf.stop_gradient(losses)
        with tf.GradientTape() as tape:
            tape.watch(given)
            total = self.balancer.combine(given, active, training)
        weights = self._averaged(tape.gradient(total, given), active, training)
        if training:
            self._show(weights, active)
        return tf.reduce_sum(weights * losses)

    def _solve(self, gramian: Gramian, losses: Any) -> Any:
        self.balancer._valid = self._valid
        return self._averaged(tf.where(gramian.active, self.balancer._solve(gramian, losses), 0), gramian.active)

    def _mix(self, jacobian: Any, active: Any, losses: Any) -> tuple[Any, Any]:
        self.balancer._valid = self._valid
        weights, rows = self.balancer._mix(jacobian, active, losses)
        return self._averaged(tf.where(active, tf.cast(weights, jacobian.dtype), 0), active), rows
