"""A Keras metric of one task."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from mtl.metrics.task_metric import TaskMetric
from mtl.utils.arguments import checked
from mtl.utils.rows import labelled

__all__ = ["KerasMetric"]


@keras.saving.register_keras_serializable("mtl")
class KerasMetric(TaskMetric):
    """A Keras metric as a `TaskMetric`: its statistics are the change of a zero state by one batch.

    It is therefore exact on several replicas for metrics whose state consists of sums, as in nearly all of Keras's. The Keras
    metric receives targets and predictions as the head computes them; with weights per class, `[B, C]`, each class of a row is
    one prediction.

    Args:
        metric: the metric.

    Raises:
        ValueError: a metric whose state does not start from zeros, does not consist of floats, or is created by the first batch;
            or one with `multi_label`.

    Example:

    >>> import numpy as np
    >>> metric = KerasMetric(keras.metrics.SparseTopKCategoricalAccuracy(2, name="top2"))
    >>> scores = np.array([[0.1, 0.2, 0.7], [0.6, 0.3, 0.1]], "float32")
    >>> metric.update_state(np.array([1, 2]), scores, np.array([1.0, 1.0], "float32"), {})
    >>> metric.name, float(metric.result())
    ('top2', 0.5)
    """

    @checked
    def __init__(self, metric: keras.metrics.Metric, name: str | None = None, **kwargs: Any):
        metric = type(metric).from_config(metric.get_config())
        if getattr(metric, "multi_label", False):
            raise ValueError(
                f"{type(metric).__name__} expects one prediction per row or class of a row; got multi_label=True, which wants "
                "all classes known. Leave it out, or write a mtl.metrics.TaskMetric."
            )
        start = [ops.convert_to_numpy(ops.convert_to_tensor(variable)) for variable in metric.variables]
        if not start or any(value.dtype.kind != "f" or value.any() for value in start):
            raise ValueError(
                f"{type(metric).__name__} expects sums that begin with 0 as its state, to be right on several replicas; "
                f"got {'another state' if start else 'none before the first batch'}. Write it as a mtl.metrics.TaskMetric."
            )
        super().__init__((sum(value.size for value in start),), name=name or metric.name, **kwargs)
        # Inside a function, so that Keras does not track its state, which stays empty.
        self._inner = lambda: metric
        self._shapes = tuple(value.shape for value in start)
        #: Function from outputs and features to predictions; that of the head.
        self.activate: Any = lambda outputs, features: outputs

    @property
    def metric(self) -> keras.metrics.Metric:
        """The Keras metric."""
        return self._inner()

    def statistics(self, target: Any, outputs: Any, weight: Any, features: Mapping[str, Any]) -> Any:
        """Return the batch's additions to the Keras metric's variables, flattened and concatenated.

        Args:
            target: as the Keras metric takes it.
            outputs: what the head's `activate` takes.
            weight: `[B]`, or `[B, C]` for weights per class.
            features: what the head's `activate` takes.
        """
        weight = ops.cast(weight, "float32")
        predicted, target = self.activate(labelled(weight, outputs), features), labelled(weight, target)
        if len(weight.shape) == 2:
            weight, predicted, target = (ops.reshape(each, (-1,)) for each in (weight, predicted, target))
        zeros = [ops.zeros(shape) for shape in self._shapes]
        added = self.metric.stateless_update_state(zeros, target, predicted, sample_weight=weight)
        return ops.concatenate([ops.reshape(ops.cast(each, "float32"), (-1,)) for each in added], axis=0)

    def scores(self, state: Any) -> Any:
        sizes = np.cumsum([int(np.prod(shape)) for shape in self._shapes])[:-1].tolist()
        parts = [
            ops.reshape(ops.cast(part, "float32"), shape)
            for part, shape in zip(ops.split(state, sizes), self._shapes, strict=True)
        ]
        return self.metric.stateless_result(parts)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "metric": keras.saving.serialize_keras_object(self.metric)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "KerasMetric":
        return cls(**{**config, "metric": keras.saving.deserialize_keras_object(config["metric"])})
