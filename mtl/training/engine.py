"""The step under `fit`, `evaluate` and `predict`.

The engine knows a model only as features of a task, and as loss sum and weight sum of a head.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from mtl.training import seam
from mtl.training.health import Health
from mtl.training.loop import Loop
from mtl.training.losses import TaskLosses
from mtl.training.own import OwnVariables, Window
from mtl.training.replicas import check_strategy, replicas, sum_gradients, sum_over_replicas

__all__ = ["Engine"]


class Totals(NamedTuple):
    """What the replicas of a step add up.

    Args:
        losses: each task's weighted sum of losses, `[K]`.
        weights: each task's sum of weights, `[K]`.
        penalty: what is added to the tasks' losses.
        counts: the rows labelled for each task, all rows, all tokens, and all places for tokens, `[K + 3]`.
        present: the tasks that the batch has targets of.
        statistics: of their metrics, in order.
    """

    losses: tf.Tensor
    weights: tf.Tensor
    penalty: tf.Tensor
    counts: tf.Tensor
    present: list[str]
    statistics: list[tf.Tensor]

    def where(self, counted: tf.Tensor) -> "Totals":
        """These, or zeros."""
        losses, weights, penalty, counts, *statistics = [
            tf.where(counted, each, tf.zeros_like(each)) for each in (*self[:4], *self.statistics)
        ]
        return Totals(losses, weights, penalty, counts, self.present, statistics)


class Engine(Loop):
    """A Keras model whose training step takes batches with rows of any task.

    A task's loss is its weighted sum over the rows of the batch, on all replicas, over the sum of the weights. A task without
    a labelled row leaves its own variables and their optimizer state as they were, and its metrics too.

    A subclass gives `task_names`, `complete`, `features_of`, `head_of`, `own_layers`, `balancer` and `penalty`, and calls
    `start_engine` when its heads are built.
    """

    task_names: tuple[str, ...]
    balancer: Any
    _own: dict[str, OwnVariables]
    _window: Window
    _health: Health
    skip_nonfinite = False

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
        """Makes the metrics. All state exists before the first step: Keras locks a built model.

        Raises:
            ValueError: the model is made under a strategy or a distribution that it cannot train under.
        """
        check_strategy(seam.strategy_of(self))
        self.task_losses = TaskLosses(self.task_names, name="task_losses")
        self.task_metrics = {task: self.head_of(task).make_metrics() for task in self.task_names}

    def compile(self, optimizer: Any = "adamw", **kwargs: Any) -> None:
        """Sets the optimizer. Losses and metrics come from the heads.

        Args:
            optimizer: a Keras optimizer, or its name.
            **kwargs: `run_eagerly`, `steps_per_execution`, `jit_compile` and `auto_scale_loss`, as in Keras. XLA is off
                unless `jit_compile=True`: batches come in several lengths, and each would be compiled. With `skip_nonfinite=True`
                a step whose losses or gradients are not finite changes nothing and is told of by a warning; else it ends the
                training.

        Raises:
            ValueError: a loss or metrics were given, the optimizer was made outside the scope of the model's strategy, or XLA is
                asked for on several replicas.
        """
        for name in ("loss", "loss_weights", "metrics", "weighted_metrics"):
            if kwargs.pop(name, None) is not None:
                raise ValueError(
                    f"compile takes no '{name}': heads own their losses and metrics, and the balancer their weights. "
                    "Set them there, such as Classification(label_smoothing=0.1) or Static({'task': 2.0})."
                )
        strategy = self.distribute_strategy
        self.skip_nonfinite = bool(kwargs.pop("skip_nonfinite", False))
        kwargs.setdefault("jit_compile", False)
        if kwargs["jit_compile"] and strategy.num_replicas_in_sync > 1:
            raise ValueError(
                f"TensorFlow compiles no step whose replicas meet in it: got jit_compile=True on {strategy.num_replicas_in_sync} "
                "replicas. Leave it out; on TPUs every step is compiled as it is."
            )
        with strategy.scope():
            super().compile(optimizer=optimizer, **kwargs)
            if seam.several_processes(seam.strategy_of(self)):
                seam.prepare_saving()
        seam.check_scope(self)

    def get_compile_config(self) -> dict[str, Any]:
        return {**(super().get_compile_config() or {}), "skip_nonfinite": self.skip_nonfinite}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """As in Keras: compiles and makes the optimizer's variables, so that their values can be loaded."""
        with self.distribute_strategy.scope():
            self.compile(**keras.saving.deserialize_keras_object(config))
            self.optimizer.build(self.trainable_variables)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """All metrics, which Keras resets at the start of an epoch."""
        if not hasattr(self, "task_metrics"):
            return []
        return [self.task_losses, *(metric for metrics in self.task_metrics.values() for metric in metrics.values())]

    def make_train_function(self, force: bool = False) -> None:
        strategy = self.distribute_strategy
        with strategy.scope():
            if not self.optimizer.built:
                self.optimizer.build(self.trainable_variables)
        if {id(variable) for variable in seam.trained_by(self.optimizer)} != {id(v) for v in self.trainable_variables}:
            raise ValueError(
                "What is trained has changed since the model was compiled. "
                "Compile it again, or freeze with mtl.transfer.freeze(model)."
            )
        if self.train_function is not None and not force:
            return
        if strategy.num_replicas_in_sync > 1:
            seam.update_each_replica(self.optimizer)
            seam.differ_in_dropout(self)
        variables = {task: [v for layer in self.own_layers(task) for v in layer.trainable_variables] for task in self.task_names}
        with strategy.scope():
            self._own = {task: OwnVariables(self.optimizer, own) for task, own in variables.items() if own}
            self._window = Window(self.optimizer, len(self.task_names))
            self._health = Health(
                self.optimizer, self.trainable_variables, variables, self.task_names, self.skip_nonfinite, self._window.length > 1
            )
        steps, health = seam.make_function(self, self.train_step), self._health

        def checked(iterator: Any) -> Any:
            logs = steps(iterator)
            health.check()
            return logs

        self.train_function = checked

    def training_state(self) -> list[keras.Variable]:
        return [*super().training_state(), *self._window.variables]

    # One step -----------------------------------------------------------------------------------------------------

    def train_step(self, data: Any) -> dict[str, Any]:
        with tf.GradientTape() as tape:
            losses, penalty, active, totals = self._forward(data, training=True)
            loss = self._combined(losses, totals, active) + penalty
            scaled = self.optimizer.scale_loss(loss)
        variables = self.trainable_variables
        gradients = sum_gradients(tape.gradient(scaled, [variable.value for variable in variables]))
        finite = self._health.look(tf.math.divide_no_nan(totals.losses, totals.weights), gradients)
        if self.skip_nonfinite:
            gradients = [None if g is None else tf.where(finite, g, tf.zeros_like(g)) for g in gradients]
            active &= finite
            totals = totals.where(finite)
        taking_part = self._window.add(active)
        kept = [(own, before, finite) for own, before in self._health.keep()]
        kept += [(own, own.read(), taking_part[self.task_names.index(task)]) for task, own in self._own.items()]
        if isinstance(self.optimizer, keras.optimizers.MultiOptimizer):  # It takes no fewer gradients than it has variables.
            unreached = OwnVariables(self.optimizer, [v for g, v in zip(gradients, variables, strict=True) if g is None])
            kept.append((unreached, unreached.read(), tf.constant(False)))
            gradients = [tf.zeros_like(v) if g is None else g for g, v in zip(gradients, variables, strict=True)]
        self.optimizer.apply_gradients([(g, v) for g, v in zip(gradients, variables, strict=True) if g is not None])
        for own, before, moved in kept:
            own.restore(before, moved)
        self._window.close()
        self._record(totals)
        return self.get_metrics_result()

    def test_step(self, data: Any) -> dict[str, Any]:
        *_, totals = self._forward(data, training=False)
        self._record(totals)
        return self.get_metrics_result()

    def predict_step(self, data: Any) -> Any:
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        return self(x, training=False)

    def _combined(self, losses: tf.Tensor, totals: Totals, active: tf.Tensor) -> tf.Tensor:
        """This replica's part of what the balancer makes of the tasks' losses; the parts' gradients add up to the whole's."""
        if replicas() == 1:
            return self.balancer.combine(losses, active)
        with tf.GradientTape() as tape:
            whole_losses = tf.math.divide_no_nan(totals.losses, totals.weights)
            tape.watch(whole_losses)
            whole = self.balancer.combine(whole_losses, active)
        shares = tape.gradient(whole, whole_losses, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        # The second term is 0; its gradient reaches what the balancer itself learns, once from all replicas together.
        return tf.reduce_sum(tf.stop_gradient(shares) * losses) + (whole - tf.stop_gradient(whole)) / replicas()

    def _penalty(self) -> tf.Tensor:
        """This replica's part of what is added to the tasks' losses: the penalty of sharing, and the layers' regularizers."""
        terms = [tf.cast(term, tf.float32) for term in (self.penalty(), *self.losses) if term is not None]
        return tf.add_n(terms) / replicas() if terms else tf.constant(0.0)

    def _forward(self, data: Any, training: bool) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, Totals]:
        """Losses `[K]` and penalty, this replica's parts of the whole batch's; which tasks are active `[K]`; and the totals."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        x = self.complete(x)
        y, sample_weight = self._by_task(y, "targets"), self._by_task(sample_weight, "sample weights")
        present = [task for task in self.task_names if task in y]
        if not present:
            raise ValueError(f"The batch has no targets for the tasks {list(self.task_names)}. Give them as a dict by task.")
        features = self.features_of(x, present, training)
        zero = tf.constant(0.0)
        sums: list[tf.Tensor] = []
        weights: list[tf.Tensor] = []
        rows: list[tf.Tensor] = []
        statistics: list[tf.Tensor] = []
        for task in self.task_names:
            if task not in present:
                for values in (sums, weights, rows):
                    values.append(zero)
                continue
            head = self.head_of(task)
            weight = self._weight(head, sample_weight.get(task), features[task])
            loss_sum, weight_sum, outputs = head.score(y[task], weight, features[task], training=training)
            sums.append(tf.cast(loss_sum, tf.float32))
            weights.append(tf.cast(weight_sum, tf.float32))
            labelled = weight > 0 if weight.shape.rank == 1 else tf.reduce_any(weight > 0, axis=1)
            rows.append(tf.reduce_sum(tf.cast(labelled, tf.float32)))
            for metric in self.task_metrics[task].values():
                statistics.append(
                    tf.ensure_shape(metric.statistics(y[task], outputs, weight, features[task]), metric.total.shape)
                )
        mask = features[present[0]]["padding_mask"]
        sizes = [tf.shape(mask)[0], tf.math.count_nonzero(mask), tf.size(mask)]
        counts = tf.stack([*rows, *(tf.cast(size, tf.float32) for size in sizes)])
        penalty = self._penalty()
        shares = [tf.stack(sums), tf.stack(weights), penalty, counts, *statistics]
        loss_sums, weight_sums, whole_penalty, counts, *statistics = sum_over_replicas(
            [tf.stop_gradient(each) for each in shares]
        )
        totals = Totals(loss_sums, weight_sums, whole_penalty, counts, present, statistics)
        return tf.math.divide_no_nan(tf.stack(sums), weight_sums), penalty, weight_sums > 0, totals

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

    def _record(self, totals: Totals) -> None:
        self.task_losses.accumulate(totals.losses, totals.weights, totals.penalty, totals.counts)
        self.task_losses.combine_by(self.balancer)
        metrics = [metric for task in totals.present for metric in self.task_metrics[task].values()]
        for metric, value in zip(metrics, totals.statistics, strict=True):
            metric.accumulate(value)

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
