"""Protocols of the models and heads that the engine trains."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import keras

from mtl.balancing.balancer import Balancer
from mtl.data.columns import Target
from mtl.metrics.task_metric import TaskMetric
from mtl.training.losses import TaskLosses

__all__ = ["Part", "TrainableHead", "TrainableModel"]


class TrainableHead(Protocol):
    """Protocol of a head in training; every `mtl.heads.Head` has it.

    Attributes:
        progress: name of the metric in logs that measures the progress of the task, between 0 and 1.
        target: the form of one row's target.
    """

    progress: str

    @property
    def target(self) -> Target: ...
    def __call__(self, features: Mapping[str, Any], training: bool | None = None) -> Any: ...
    def score(self, target: Any, weight: Any, features: Mapping[str, Any], training: bool) -> tuple[Any, Any, Any]: ...
    def given(self, target: Any, weight: Any) -> Any: ...
    def all_metrics(self) -> dict[str, TaskMetric]: ...


class Part(Protocol):
    """A layer of a model, and the names of the tasks whose losses depend on it; `mtl.sharing.Part` is one."""

    @property
    def layer(self) -> keras.layers.Layer: ...
    @property
    def tasks(self) -> tuple[str, ...]: ...


class TrainableModel(Protocol):
    """Protocol of a model in training; every `mtl.training.Engine` has it.

    Attributes:
        task_names: the names of the K tasks, in the order of losses and gradients.
        balancer: the balancer, which combines the tasks' losses or gradients into one update.
        task_metrics: task -> its metrics by name.
        task_losses: the running losses.
        static_shapes: whether the step's shapes must not depend on the data, as for XLA.
        inputs, weights, trainable_variables, losses, optimizer, distribute_strategy: as in a `keras.Model`.
    """

    task_names: tuple[str, ...]
    balancer: Balancer
    task_metrics: dict[str, dict[str, TaskMetric]]
    task_losses: TaskLosses
    optimizer: Any

    @property
    def static_shapes(self) -> bool: ...
    @property
    def inputs(self) -> Sequence[Any]: ...
    @property
    def weights(self) -> list[keras.Variable]: ...
    @property
    def trainable_variables(self) -> list[keras.Variable]: ...
    @property
    def losses(self) -> list[Any]: ...
    @property
    def distribute_strategy(self) -> Any: ...
    def complete(self, x: Any) -> dict[str, Any]: ...
    def trunk(self, x: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]: ...
    def branch(self, task: str, shared: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]: ...
    def head_of(self, task: str) -> TrainableHead: ...
    def parts(self) -> Mapping[str, Part]: ...
    def penalty(self) -> Any: ...
