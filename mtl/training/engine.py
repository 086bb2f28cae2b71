"""The step under `fit`, `evaluate` and `predict`.

The engine knows a model only as features of a task, and as loss sum and weight sum of a head.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import keras
import tensorflow as tf

from mtl.training.losses import TaskLosses
from mtl.training.own import OwnVariables

__all__ = ["Engine"]


class Engine(keras.Model):
    """A Keras model whose training step takes batches with rows of any task.

    A task's loss is its weighted sum over the rows of the batch, on all replicas, over the sum of the weights. A task without
    a labelled row leaves its own variables and their optimizer state as they were, and its metrics too.

    A subclass gives `task_names`, `complete`, `features_of`, `head_of`, `own_layers`, `balancer` and `penalty`, and calls
    `start_engine` when its heads are built.
    """

    task_names: tuple[str, ...]
    balancer: Any
    _own: dict[str, OwnVariables]

    def complete(self, x: Any) -> dict[str, Any]:
        """The inputs with those that may be left out filled in."""
        raise NotImplementedError

    def features_of(self, x: Mapping[str, Any], tasks: Iterable[str], training: bool) -> dict[str, dict[str, Any]]:
        """Each task's features."""
        raise NotImplementedError

    def head_of(self, task: str) -> Any:
        """A task's head."""
        raise NotImplementedError

    def own_layers(self, task: str) -> list[keras.layers.Layer]:
        """The layers that only one task uses."""
        raise NotImplementedError

    def penalty(self) -> Any:
        """A scalar added to the loss, or None."""
        raise NotImplementedError

    # Set-up -------------------------------------------------------------------------------------------------------

    def start_engine(self) -> None:
        """Makes the metrics. All state exists before the first step: Keras locks a built model."""
        self.task_losses = TaskLosses(self.task_names, name="task_losses")
        self.task_metrics = {task: self.head_of(task).make_metrics() for task in self.task_names}

    def compile(self, optimizer: Any = "adamw", **kwargs: Any) -> None:
        """Sets the optimizer. Losses and metrics come from the heads.

        Args:
            optimizer: a Keras optimizer, or its name.
            **kwargs: `run_eagerly`, `steps_per_execution`, `jit_compile` and `auto_scale_loss`, as in Keras. XLA is off
                unless `jit_compile=True`: batches come in several lengths, and each would be compiled.

        Raises:
            ValueError: a loss or metrics were given.
        """
        for name in ("loss", "loss_weights", "metrics", "weighted_metrics"):
            if kwargs.pop(name, None) is not None:
                raise ValueError(
                    f"compile takes no '{name}': heads own their losses and metrics, and the balancer their weights. "
                    "Set them there, such as Classification(label_smoothing=0.1) or Static({'task': 2.0})."
                )
        super().compile(optimizer=optimizer, jit_compile=kwargs.pop("jit_compile", False), **kwargs)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """As in Keras: compiles and makes the optimizer's variables, so that their values can be loaded."""
        config = keras.saving.deserialize_keras_object(config)
        self.compile(**config)
        self.optimizer.build(self.trainable_variables)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """All metrics, which Keras resets at the start of an epoch."""
        if not hasattr(self, "task_metrics"):
            return []
        return [self.task_losses, *(metric for metrics in self.task_metrics.values() for metric in metrics.values())]

    def fit(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """As in Keras. A `tf.data.Dataset` comes in its own order."""
        if isinstance(x, tf.data.Dataset):
            kwargs.setdefault("shuffle", False)
        return super().fit(x, y, *args, **kwargs)

    def make_train_function(self, force: bool = False) -> None:
        if not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)
        if {id(variable) for variable in self.optimizer._trainable_variables} != {id(v) for v in self.trainable_variables}:
            raise ValueError(
                "What is trained has changed since the model was compiled. "
                "Compile it again, or freeze with mtl.transfer.freeze(model)."
            )
        variables = {task: [v for layer in self.own_layers(task) for v in layer.trainable_variables] for task in self.task_names}
        with self.distribute_strategy.scope():
            self._own = {task: OwnVariables(self.optimizer, own) for task, own in variables.items() if own}
        super().make_train_function(force)

    # One step -----------------------------------------------------------------------------------------------------

    def train_step(self, data: Any) -> dict[str, Any]:
        with tf.GradientTape() as tape:
            losses, active, statistics = self._forward(data, training=True)
            penalty = self._penalties()
            loss = self.balancer.combine(losses, active) + penalty
            scaled = self.optimizer.scale_loss(loss)
        variables = self.trainable_variables
        gradients = tape.gradient(scaled, [variable.value for variable in variables])
        kept = [(own, own.read(), active[self.task_names.index(task)]) for task, own in self._own.items()]
        if isinstance(self.optimizer, keras.optimizers.MultiOptimizer):  # It takes no fewer gradients than it has variables.
            unreached = OwnVariables(self.optimizer, [v for g, v in zip(gradients, variables, strict=True) if g is None])
            kept.append((unreached, unreached.read(), tf.constant(False)))
            gradients = [tf.zeros_like(v) if g is None else g for g, v in zip(gradients, variables, strict=True)]
        self.optimizer.apply_gradients([(g, v) for g, v in zip(gradients, variables, strict=True) if g is not None])
        for own, before, moved in kept:
            own.restore(before, moved)
        self._record(statistics, penalty)
        return self.get_metrics_result()

    def test_step(self, data: Any) -> dict[str, Any]:
        _, _, statistics = self._forward(data, training=False)
        self._record(statistics, self._penalties())
        return self.get_metrics_result()

    def predict_step(self, data: Any) -> Any:
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        return self(x, training=False)

    def _penalties(self) -> tf.Tensor:
        """This replica's part of what is added to the tasks' losses: the penalty of sharing, and the layers' regularizers."""
        terms = [tf.cast(term, tf.float32) for term in (self.penalty(), *self.losses) if term is not None]
        return tf.add_n(terms) / self.distribute_strategy.num_replicas_in_sync if terms else tf.constant(0.0)

    def _forward(self, data: Any, training: bool) -> tuple[tf.Tensor, tf.Tensor, dict[str, Any]]:
        """Losses `[K]` (each replica's part of the global loss), which tasks are active `[K]`, and the metrics' statistics."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        x = self.complete(x)
        y, sample_weight = self._by_task(y, "targets"), self._by_task(sample_weight, "sample weights")
        present = [task for task in self.task_names if task in y]
        if not present:
            raise ValueError(f"The batch has no targets for the tasks {list(self.task_names)}. Give them as a dict by task.")
        features = self.features_of(x, present, training)
        sums, weights, rows = [], [], []
        statistics: dict[str, Any] = {}
        for task in self.task_names:
            if task not in present:
                sums.append(tf.constant(0.0))
                weights.append(tf.constant(0.0))
                rows.append(tf.constant(0.0))
                continue
            head = self.head_of(task)
            weight = self._weight(head, sample_weight.get(task), features[task])
            loss_sum, weight_sum, outputs = head.score(y[task], weight, features[task], training=training)
            sums.append(tf.cast(loss_sum, tf.float32))
            weights.append(tf.cast(weight_sum, tf.float32))
            labelled = weight > 0 if weight.shape.rank == 1 else tf.reduce_any(weight > 0, axis=1)
            rows.append(tf.reduce_sum(tf.cast(labelled, tf.float32)))
            statistics[task] = {
                name: metric.statistics(y[task], outputs, weight, features[task])
                for name, metric in self.task_metrics[task].items()
            }
        mask = features[present[0]]["padding_mask"]
        sizes = [tf.shape(mask)[0], tf.math.count_nonzero(mask), tf.size(mask)]
        counts = tf.stack([*rows, *(tf.cast(size, tf.float32) for size in sizes)])
        totals = self._sum_over_replicas(tf.concat([tf.stack(weights), counts], axis=0))
        loss_sums, weight_sums, counts = tf.stack(sums), totals[: len(weights)], totals[len(weights) :]
        statistics["loss"] = (tf.stop_gradient(loss_sums), weight_sums, counts)
        return tf.math.divide_no_nan(loss_sums, weight_sums), weight_sums > 0, statistics

    def _by_task(self, value: Any, what: str) -> dict[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            if len(self.task_names) > 1:
                raise ValueError(f"A model of several tasks expects {what} as a dict by task; got {type(value).__name__}.")
            return {self.task_names[0]: value}
        for name in value:
            if name not in self.task_names:
                raise ValueError(f"Got {what} for '{name}', which is no task of the model: {list(self.task_names)}.")
        return {name: each for name, each in value.items() if each is not None}

    @staticmethod
    def _weight(head: Any, weight: Any, features: Mapping[str, Any]) -> tf.Tensor:
        mask = tf.cast(features["padding_mask"], tf.float32)
        if weight is None:
            return mask if head.target.per_token else tf.ones(tf.shape(mask)[:1])
        weight = tf.cast(weight, tf.float32)
        if head.target.per_token and weight.shape.rank == 1:
            return weight[:, None] * mask
        return tf.reshape(weight, tf.shape(mask)[:1]) if not head.target.per_token else weight

    @staticmethod
    def _sum_over_replicas(value: tf.Tensor) -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        if context is None or context.num_replicas_in_sync == 1:
            return value
        return context.all_reduce(tf.distribute.ReduceOp.SUM, value)

    def _record(self, statistics: dict[str, Any], penalty: tf.Tensor) -> None:
        loss_sums, weight_sums, counts = statistics.pop("loss")
        self.task_losses.accumulate(self._sum_over_replicas(loss_sums), weight_sums, self._sum_over_replicas(penalty), counts)
        self.task_losses.combine_by(self.balancer)
        for task, by_name in statistics.items():
            for name, value in by_name.items():
                self.task_metrics[task][name].accumulate(self._sum_over_replicas(value))

    def get_metrics_result(self) -> dict[str, Any]:
        """Loss, each task's loss, and each task's metrics as `TASK_METRIC`."""
        logs = dict(self.task_losses.result())
        for task, metrics in self.task_metrics.items():
            for name, metric in metrics.items():
                value = metric.result()
                if isinstance(value, Mapping):
                    logs.update({f"{task}_{key}": each for key, each in value.items()})
                else:
                    logs[f"{task}_{name}"] = value
        return logs
