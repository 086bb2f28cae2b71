"""Steps of `fit`, `evaluate` and `predict`.

The engine uses a model only through the features of a task, and the loss sum and weight sum of a head.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from inspect import signature
from typing import Any

import keras
import tensorflow as tf

from mtl.balancing.balancer import Balancer
from mtl.training.accumulation import AccumulationWindow, batches_to_an_update
from mtl.training.epochs import Epochs
from mtl.training.forking import check_process
from mtl.training.gradients.conflicts import Conflicts
from mtl.training.gradients.task_gradients import TaskGradients
from mtl.training.keras_internals import optimizer_internals
from mtl.training.keras_internals.adam import adam_in_one_pass, named_optimizer
from mtl.training.keras_internals.dropout import draw_by_place
from mtl.training.keras_internals.steps import AfterStep, make_function, named_arguments
from mtl.training.keras_internals.strategies import check_scope, prepare_saving, several_processes, strategy_of
from mtl.training.loop import Loop
from mtl.training.losses import TaskLosses
from mtl.training.non_finite_guard import NonFiniteGuard
from mtl.training.protocols import Part, TrainableHead
from mtl.training.replicas import check_strategy, replicas, sum_gradients
from mtl.training.scoring import Batch, Totals, penalty, score, total
from mtl.training.task_variables import TaskVariables
from mtl.utils import brief, unknown_name
from mtl.utils.configs import check_config

__all__ = ["Engine"]

#: Arguments of `compile` besides the optimizer.
COMPILED = ("run_eagerly", "steps_per_execution", "jit_compile", "auto_scale_loss", "skip_nonfinite")


class Engine(Loop):
    """A Keras model whose training step takes batches with rows of any task.

    A task's loss is the weighted sum over the rows of the batch, on all replicas, divided by the sum of the weights. A step
    without labelled rows of a task does not change the task's layers, their optimizer state, or its metrics.

    A subclass defines `task_names`, `complete`, `trunk`, `branch`, `head_of`, `parts`, `balancer`, `gradients_at` and `penalty`,
    and calls `start_engine` when its heads are built.
    """

    task_names: tuple[str, ...]
    balancer: Balancer
    gradients_at: str | Sequence[str]
    _gradients: TaskGradients | None
    _task_variables: dict[tuple[str, ...], TaskVariables]
    _window: AccumulationWindow | None
    _guard: NonFiniteGuard
    skip_nonfinite = False

    def complete(self, x: Any) -> dict[str, Any]:
        """Return the inputs, with those that may be left out filled in."""
        raise NotImplementedError

    def trunk(self, x: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        """Return the outputs that are computed once for all tasks."""
        raise NotImplementedError

    def branch(self, task: str, shared: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        """Return one task's features, given the trunk's outputs."""
        raise NotImplementedError

    def head_of(self, task: str) -> TrainableHead:
        """Return a task's head."""
        raise NotImplementedError

    def parts(self) -> Mapping[str, Part]:
        """Return the layers that have weights, by name, each with the tasks that depend on it."""
        raise NotImplementedError

    def penalty(self) -> Any:
        """Return a scalar to add to the loss, or None."""
        raise NotImplementedError

    # Set-up -------------------------------------------------------------------------------------------------------

    def start_engine(self) -> None:
        """Create the metrics, since all state must exist before the first step: Keras locks a built model.

        Raises:
            ValueError: the model is made under a strategy or a distribution that does not support its training.
        """
        check_strategy(strategy_of(self))
        self.task_losses = TaskLosses(self.task_names, name="task_losses")
        self.conflicts = Conflicts(self.task_names, name="conflicts")
        self._gradients, self._window = None, None
        self.task_metrics = {task: self.head_of(task).all_metrics() for task in self.task_names}

    def compile(self, optimizer: Any = "adamw", **kwargs: Any) -> None:
        """Set the optimizer. Losses and metrics come from the heads.

        Args:
            optimizer: a Keras optimizer, or its name. Adam and AdamW compute Keras's step in one operation per variable.
            **kwargs: `run_eagerly`, `steps_per_execution`, `jit_compile` and `auto_scale_loss`, as in Keras. XLA is off
                unless `jit_compile=True`: batches have several lengths, and each would be compiled. A step whose losses or
                gradients are not finite ends the training before any weight changes, and one whose update makes weights that
                are not finite ends it after the update. With `skip_nonfinite=True` such a step changes no trained weight, and
                only the step count of the optimizer, and a warning reports it; weights and optimizer are copied before each
                update. When gradients are accumulated, a batch that is not finite counts as one without labels.

        Raises:
            ValueError: a loss or metrics were given, the optimizer was made outside the scope of the model's strategy, or XLA is
                asked for on several replicas.
        """
        for name in ("loss", "loss_weights", "metrics", "weighted_metrics"):
            if (given := kwargs.pop(name, None)) is not None:
                raise ValueError(f"compile takes no '{name}': {self._instead_of(name, given)}")
        for name in kwargs:
            if name not in COMPILED and name in signature(type(self).__init__).parameters:
                raise ValueError(f"compile takes no '{name}'. Give it to the model: {type(self).__name__}(..., {name}=...).")
            if name not in COMPILED:
                raise unknown_name("argument of compile", name, COMPILED)
        strategy = self.distribute_strategy
        self.skip_nonfinite = bool(kwargs.pop("skip_nonfinite", False))
        kwargs.setdefault("jit_compile", False)
        if kwargs["jit_compile"] and strategy.num_replicas_in_sync > 1:
            raise ValueError(
                f"TensorFlow compiles no step whose replicas meet in it: got jit_compile=True on {strategy.num_replicas_in_sync} "
                "replicas. Leave it out; on TPUs every step is compiled as it is."
            )
        self._gradients, self._window = None, None
        with strategy.scope():
            super().compile(optimizer=named_optimizer(optimizer), **kwargs)
            if several_processes(strategy_of(self)):
                prepare_saving()
        check_scope(self)
        optimizer_internals.spare_from_decay(self.optimizer, self.balancer.state.trainable_variables)

    def _instead_of(self, name: str, given: Any) -> str:
        """Return the replacement of an argument that `compile` of other models has."""
        if name == "loss_weights":
            weights = brief(dict(given)) if isinstance(given, Mapping) else "{'task': 2.0}"
            return f"the balancer weighs losses. Give MultiTaskModel balancer=mtl.balancing.Static({weights})."
        named = [task for task in self.task_names if isinstance(given, Mapping) and task in given]
        task = (named or self.task_names)[0]
        head = type(self.head_of(task)).__name__
        if name == "loss":
            return f"heads own their losses. Set that of '{task}' by the arguments of its head, {head}(...)."
        return f"heads own their metrics. Give them to the head of '{task}': {head}(metrics=[...])."

    def get_compile_config(self) -> dict[str, Any] | None:
        config = super().get_compile_config()
        return {**config, "skip_nonfinite": self.skip_nonfinite} if config else None

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile, as in Keras, and create the optimizer's variables, so that their values can be loaded."""
        check_config(config, f"compiling {type(self).__name__}")
        with self.distribute_strategy.scope():
            self.compile(**keras.saving.deserialize_keras_object(config))
        self._build_optimizer()

    def _build_optimizer(self) -> None:
        """Create the optimizer's variables, and the sums of gradients if an update has several batches."""
        with self.distribute_strategy.scope():
            optimizer_internals.build(self.optimizer, self.trainable_variables)
            if self._window is None and batches_to_an_update(self.optimizer) > 1:
                if self.balancer.looks_ahead:
                    raise ValueError(
                        f"{type(self.balancer).__name__} looks at what each batch's update does to the losses; got an optimizer "
                        f"that updates once in {batches_to_an_update(self.optimizer)} batches. Leave "
                        "gradient_accumulation_steps out."
                    )
                gradients = TaskGradients(self, self.gradients_at, window=True)
                self._gradients, self._window = gradients, AccumulationWindow(self.optimizer, gradients)

    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        given = named_arguments(keras.Model.fit, self, args, kwargs)
        if self.balancer.counts_epochs or self.balancer.uses_metrics:
            given["callbacks"] = Epochs.before(given.get("callbacks"), self)
        return super().fit(**given)

    def task_gradients(self) -> TaskGradients:
        """Return the tasks' gradients of the shared variables, for any balancer; call its `jacobian` with a batch."""
        check_process()
        return TaskGradients(self)

    @property
    def static_shapes(self) -> bool:
        """Whether the step's shapes must not depend on the data, as for XLA."""
        return bool(self.jit_compile) or isinstance(self.distribute_strategy, tf.distribute.TPUStrategy)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """List of all metrics, which Keras resets at the start of an epoch."""
        if not hasattr(self, "task_metrics"):
            return []
        return [
            self.task_losses,
            self.conflicts,
            *(metric for metrics in self.task_metrics.values() for metric in metrics.values()),
        ]

    def make_train_function(self, force: bool = False) -> None:
        check_process()
        strategy = self.distribute_strategy
        self._build_optimizer()
        if {id(variable) for variable in optimizer_internals.trained_by(self.optimizer)} != {
            id(v) for v in self.trainable_variables
        }:
            raise ValueError(
                "What is trained has changed since the model was compiled. "
                "Compile it again, or freeze with mtl.transfer.freeze(model)."
            )
        if self.train_function is not None and not force:
            return
        if strategy.num_replicas_in_sync > 1:
            optimizer_internals.update_each_replica(self.optimizer)
            draw_by_place(self)
        adam_in_one_pass(self.optimizer)
        if self._window is None and self.balancer.needs != "losses" and len(self.task_names) > 1:
            self._gradients = TaskGradients(self, self.gradients_at)
        variables = self._variables_of_some_tasks()
        with strategy.scope():
            self._task_variables = {
                tasks: TaskVariables(self.optimizer, owned, self.static_shapes) for tasks, owned in variables.items() if owned
            }
            self._guard = NonFiniteGuard(
                self.optimizer,
                self.trainable_variables,
                variables,
                self.task_names,
                skip=self.skip_nonfinite,
                compiled=self.static_shapes,
            )
        window = self._window
        after = None if window is None else AfterStep(window.due, partial(self._update, window), window.skip)
        steps, guard = make_function(self, self.train_step, after), self._guard

        def checked(iterator: Any) -> Any:
            try:
                logs = steps(iterator)
            except tf.errors.OpError:
                guard.check()
                raise
            guard.check()
            return logs

        self.train_function = checked

    def _variables_of_some_tasks(self) -> dict[tuple[str, ...], list[keras.Variable]]:
        """Return the trained variables that not all tasks depend on, by their tasks; with a single task, all variables."""
        users: dict[int, tuple[keras.Variable, set[str]]] = {}  # A variable may lie in several parts.
        for part in self.parts().values():
            for variable in part.layer.trainable_variables:
                users.setdefault(id(variable), (variable, set()))[1].update(part.tasks)
        variables: dict[tuple[str, ...], list[keras.Variable]] = {}
        for variable, tasks in users.values():
            if len(tasks) < len(self.task_names) or len(self.task_names) == 1:
                variables.setdefault(tuple(task for task in self.task_names if task in tasks), []).append(variable)
        for task in self.task_names:
            variables.setdefault((task,), []).extend(self.balancer.task_variables(task))
        return variables

    # One step -----------------------------------------------------------------------------------------------------

    def train_step(self, data: Any) -> dict[str, Any]:
        if self._window is not None:
            return self._accumulate(data, self._window)
        compared = None if self._gradients is None else self._gradients.step(data)
        gradients, totals = self._loss_gradients(data) if compared is None else (compared.gradients, compared.totals)
        finite = self._guard.look(totals.means, totals.weights, gradients)
        if self.skip_nonfinite:
            gradients = [None if g is None else tf.where(finite, g, tf.zeros_like(g)) for g in gradients]
            totals = totals.where(finite)
        if compared is not None and compared.conflicts is not None:
            self.conflicts.accumulate(*compared.conflicts, active=totals.active)
        # A wrong target is reported before any update.
        with tf.control_dependencies([totals.means, *self._guard.gate(finite)]):
            self._apply(gradients, totals.active, finite)
        if self.balancer.looks_ahead:
            *_, after = self._forward(data, training=True)
            self.balancer.after_step(after.means, after.active)
        self._record(totals)
        return self.get_metrics_result()

    def _accumulate(self, data: Any, window: AccumulationWindow) -> dict[str, Any]:
        """Add a batch to the window."""
        measured = window.gradients.measure(data, window.rows)
        owners, gradients = measured.gradients(self.task_names)
        finite = self._guard.look(measured.totals.means, measured.totals.weights, gradients, owners)
        totals = measured.totals.where(finite) if self.skip_nonfinite else measured.totals
        with tf.control_dependencies([totals.means, *self._guard.gate(finite)]):
            window.add(measured, finite)
        self._record(totals)
        return self.get_metrics_result()

    def _update(self, window: AccumulationWindow) -> None:
        """Update the variables by the window's gradients."""
        step, before = window.gradients.combine(window.measured()), window.steps()
        if step.conflicts is not None:
            self.conflicts.accumulate(*step.conflicts, active=step.totals.active)
        self._apply(step.gradients, step.totals.active, window.counts)
        window.close(before)

    def test_step(self, data: Any) -> dict[str, Any]:
        *_, totals = self._forward(data, training=False)
        self._record(totals)
        return self.get_metrics_result()

    def predict_step(self, data: Any) -> Any:
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        return self(x, training=False)

    def _forward(self, data: Any, training: bool) -> tuple[tf.Tensor, tf.Tensor, Totals]:
        """Return losses `[K]` and penalty, this replica's parts of the whole batch's; and the totals."""
        batch = Batch.of(self, data)
        scores = score(self, batch, training)
        added = penalty(self)
        totals = total(self, batch, scores, added)
        sums = tf.stack([scores.losses.get(task, tf.constant(0.0)) for task in self.task_names])
        return tf.math.divide_no_nan(sums, totals.weights), added, totals

    def _loss_gradients(self, data: Any) -> tuple[list[Any], Totals]:
        """Return the gradients of the balancer's combination of the tasks' losses."""
        with tf.GradientTape() as tape:
            losses, added, totals = self._forward(data, training=True)
            scaled = self.optimizer.scale_loss(self._combined(losses, totals) + added)
        return sum_gradients(tape.gradient(scaled, [variable.value for variable in self.trainable_variables])), totals

    def _combined(self, losses: tf.Tensor, totals: Totals) -> tf.Tensor:
        """Return this replica's part of the balancer's combined loss; the parts' gradients sum to the gradient of the whole."""
        if replicas() == 1:
            return self.balancer.combine(losses, totals.active)
        with tf.GradientTape() as tape:
            whole_losses = totals.means
            tape.watch(whole_losses)
            whole = self.balancer.combine(whole_losses, totals.active)
        shares = tape.gradient(whole, whole_losses, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        # The second term is 0; its gradient is that of the balancer's own variables, counted once for all replicas.
        return tf.reduce_sum(tf.stop_gradient(shares) * losses) + (whole - tf.stop_gradient(whole)) / replicas()

    def _apply(self, gradients: list[Any], active: tf.Tensor, finite: tf.Tensor) -> None:
        """Update the variables except those of inactive tasks; none if a step that is not finite is skipped."""
        variables, before = self.trainable_variables, self._guard.keep()
        kept = []
        for tasks, owned in self._task_variables.items():
            any_active = tf.reduce_any([active[self.task_names.index(task)] for task in tasks])
            kept.append((owned, owned.read(any_active), any_active))
        several = isinstance(optimizer_internals.unscaled(self.optimizer), keras.optimizers.MultiOptimizer)
        if several:  # It requires one gradient per variable.
            untouched = TaskVariables(self.optimizer, [v for g, v in zip(gradients, variables, strict=True) if g is None])
            kept.append((untouched, untouched.read(tf.constant(False)), tf.constant(False)))
            gradients = [tf.zeros_like(v) if g is None else g for g, v in zip(gradients, variables, strict=True)]
        self.optimizer.apply_gradients([(g, v) for g, v in zip(gradients, variables, strict=True) if g is not None])
        for owned, values, any_active in kept:
            owned.restore(values, any_active)
        self._guard.look_at_update(finite, before)

    def _record(self, totals: Totals) -> None:
        self.task_losses.accumulate(totals.losses, totals.weights, totals.penalty, totals.counts)
        self.task_losses.combine_by(self.balancer)
        for task, statistics in totals.statistics.items():
            for metric, value in zip(self.task_metrics[task].values(), statistics, strict=True):
                metric.accumulate(value)

    def get_metrics_result(self) -> dict[str, Any]:
        """Return the loss, each task's loss, and each task's metrics as `TASK_METRIC`."""
        logs = dict(self.task_losses.result())
        for task, metrics in self.task_metrics.items():
            for name, metric in metrics.items():
                value = metric.result()
                if isinstance(value, Mapping):
                    logs.update({f"{task}_{key}": number for key, number in value.items()})
                else:
                    logs[f"{task}_{name}"] = value
        return logs
