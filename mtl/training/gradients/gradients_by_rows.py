"""Gradients of the tasks, each computed from the rows that are labelled for it."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from mtl.training.gradients.dependencies import Dependencies
from mtl.training.gradients.row_gradients import RowGradients
from mtl.training.keras_internals.layers import advance_generators
from mtl.training.protocols import TrainableModel
from mtl.training.scoring import Batch, Scores, joined, score

__all__ = ["GradientsByRows", "ScoresAndGradients", "dense_gradients"]

Tensors = list[tf.Tensor]
#: One entry per shared variable: its gradients, flat; of a lookup table, row gradients.
SharedGradients = list[tf.Tensor | RowGradients]


class ScoresAndGradients(NamedTuple):
    """Scores and gradients of some rows.

    Args:
        scores: scores of the tasks that the batch has targets for.
        shared: one entry per shared variable: the gradients of all tasks, float32 `[K, n]`, 0 for a task without rows; of a
            lookup table, row gradients.
        task_specific: task -> the gradients of the variables that it alone depends on.
    """

    scores: Scores
    shared: SharedGradients
    task_specific: dict[str, Tensors]


class HeadGradients(NamedTuple):
    """One task's gradients, computed back to the trunk's outputs.

    Args:
        outputs: gradients of the trunk's outputs.
        task_specific: gradients of the variables that the task alone depends on.
        shared: index of a shared variable -> its gradient, for those that the branch or head uses itself, such as tied
            embeddings.
    """

    outputs: Tensors
    task_specific: Tensors
    shared: dict[int, tf.Tensor]


class TrunkOutputs(NamedTuple):
    """Outputs of the trunk for some rows.

    Args:
        shared: the outputs of the trunk.
        tensors: the floating-point tensors in `shared`, each once.
        tape: the tape that recorded the trunk.
    """

    shared: Any
    tensors: Tensors
    tape: tf.GradientTape


class GradientsByRows:
    """Gradients of each task with respect to the variables that it depends on.

    The rows that are labelled for one task alone go through the trunk together, task by task, so that the cost of a gradient is
    that of its rows. Rows that are labelled for several tasks have one forward pass, and one backward pass per task. The trunk is
    traced twice, once for each kind of row, for any number of tasks.

    Args:
        model: the engine.
        dependencies: the weights that the tasks depend on.
        shared: the variables that two or more tasks depend on.
        task_specific: task -> the variables that it alone depends on.
        sparse: whether gradients of lookup tables are kept as row gradients, whose shapes depend on the data.
    """

    def __init__(
        self,
        model: TrainableModel,
        dependencies: Dependencies,
        shared: Sequence[keras.Variable],
        task_specific: Mapping[str, Sequence[keras.Variable]],
        sparse: bool = False,
    ):
        self.model, self.shared, self.task_specific = model, shared, task_specific
        self.tables = {id(v) for v in dependencies.lookup_tables if sparse} & {id(v) for v in shared}
        in_trunk = {id(v) for v in dependencies.trunk}
        #: Task-specific variables that the trunk's outputs depend on: a task, and the variable's index among the task's.
        self._specific_in_trunk = [
            (task, n) for task, variables in task_specific.items() for n, v in enumerate(variables) if id(v) in in_trunk
        ]

    def compute(self, batch: Batch, seeds: Mapping[str, tf.Tensor], training: bool) -> ScoresAndGradients:
        """Return the scores and gradients of a batch.

        Args:
            batch: this replica's rows.
            seeds: task -> the factor of its summed losses.
            training: whether dropout is on.
        """
        if len(batch.y) == 1 or self.model.static_shapes:  # All rows go through all heads.
            return self._multi_task_rows(batch, seeds, training)
        with advance_generators(self.model, times=len(batch.y)):
            return self._by_number_of_labels(batch, seeds, training)

    def _by_number_of_labels(self, batch: Batch, seeds: Mapping[str, tf.Tensor], training: bool) -> ScoresAndGradients:
        """Sum over the rows labelled for one task and those labelled for several; no work for a kind that has no rows."""
        labelled = tf.stack(list(batch.labelled().values()))
        count = tf.math.count_nonzero(labelled, axis=0)
        single, several = labelled & (count == 1), count > 1
        any_single, any_several = tf.reduce_any(single), tf.reduce_any(several)
        structure = self._specs(batch)
        specs = keras.tree.flatten(structure)

        def multi_task() -> Tensors:
            rows = batch.take(tf.reshape(tf.where(several), [-1]), list(batch.y))
            return keras.tree.flatten(self._multi_task_rows(rows, seeds, training))

        def single_task() -> Tensors:
            return keras.tree.flatten(self._single_task_rows(single, batch, seeds, training))

        def nothing() -> Tensors:
            return [tf.zeros([0] * spec.shape.rank, spec.dtype) for spec in specs]

        def summed() -> Tensors:
            pairs = zip(of_several, of_single, specs, strict=True)  # Row gradients, whose number is unknown, are concatenated.
            total = [tf.concat([a, b], axis=0) if spec.shape[:1] == [None] else a + b for a, b, spec in pairs]
            shaped = [
                [tf.ensure_shape(value, spec.shape) for value, spec in zip(part, specs, strict=True)]
                for part in (of_several, of_single)
            ]
            scores = joined(self.model, [keras.tree.pack_sequence_as(structure, part).scores for part in shaped])
            return keras.tree.flatten(keras.tree.pack_sequence_as(structure, total)._replace(scores=scores))

        of_several = tf.cond(any_several, multi_task, nothing)
        of_single = tf.cond(any_single | ~any_several, single_task, nothing)  # Zeros where no row has a label.
        values = tf.cond(any_several, lambda: tf.cond(any_single, summed, lambda: list(of_several)), lambda: list(of_single))
        values = [tf.ensure_shape(value, spec.shape) for value, spec in zip(values, specs, strict=True)]
        return keras.tree.pack_sequence_as(structure, values)

    def _multi_task_rows(self, batch: Batch, seeds: Mapping[str, tf.Tensor], training: bool) -> ScoresAndGradients:
        """Run one forward pass for the rows, and one backward pass per task."""
        trunk = self._run_trunk(batch, training)
        scores, heads = self._run_heads(batch, seeds, training, trunk)
        outputs = [tf.stack(gradients) for gradients in zip(*(head.outputs for head in heads.values()), strict=True)]

        def of_task(task: tf.Tensor, state: tuple[()]) -> tuple[SharedGradients, Tensors, tuple[()]]:
            return *self._through_trunk(trunk, [gradients[task] for gradients in outputs]), state

        shared, in_trunk, _ = self._over_tasks(batch, tf.range(len(heads)), of_task, ())
        return self._combined(scores, shared, in_trunk, heads)

    def _single_task_rows(
        self, single: tf.Tensor, batch: Batch, seeds: Mapping[str, tf.Tensor], training: bool
    ) -> ScoresAndGradients:
        """Run the rows labelled for one task alone, task by task; `single` marks the rows of each task, bool `[T, B]`."""
        tasks, has_rows = list(batch.y), tf.reduce_any(single, axis=1)
        used: dict[str, list[int]] = {}

        def of_task(task: tf.Tensor, vectors: tf.TensorArray) -> tuple[SharedGradients, Tensors, tf.TensorArray]:
            rows = batch.take(tf.reshape(tf.where(single[task]), [-1]), tasks)
            trunk = self._run_trunk(rows, training)

            def of_head(name: str) -> tuple[Tensors, tf.Tensor]:
                labelled = rows._replace(y={name: rows.y[name]}, weights={name: rows.weights[name]})
                scores, heads = self._run_heads(labelled, seeds, training, trunk)
                used[name] = list(heads[name].shared)
                values = keras.tree.flatten((scores, heads[name].task_specific, list(heads[name].shared.values())))
                return heads[name].outputs, tf.concat([_flat(value) for value in values], axis=0)

            outputs, vector = tf.switch_case(task, [partial(of_head, name) for name in tasks])
            return *self._through_trunk(trunk, outputs), vectors.write(task, vector)

        with_rows = tf.cast(tf.reshape(tf.where(has_rows), [-1]), tf.int32)
        # A head's results are packed in one vector, as their structure differs between tasks.
        vectors = tf.TensorArray(tf.float32, len(tasks), infer_shape=False, element_shape=[None])
        shared, in_trunk, vectors = self._over_tasks(batch, with_rows, of_task, vectors)
        scores, heads = Scores({}, {}, {}), {}
        for index, task in enumerate(tasks):
            variables = [self.shared[n] for n in used.get(task, [])]
            structure = *self._head_specs(task), [tf.TensorSpec(v.shape, v.dtype) for v in variables]
            specs = keras.tree.flatten(structure)
            sizes = [math.prod(spec.shape) for spec in specs]
            vector = tf.cond(has_rows[index], partial(vectors.read, index), partial(tf.zeros, [sum(sizes)]))
            parts = zip(tf.split(vector, sizes), specs, strict=True)
            values = [tf.cast(tf.reshape(part, spec.shape), spec.dtype) for part, spec in parts]
            task_scores, specific, uses = keras.tree.pack_sequence_as(structure, values)
            heads[task] = HeadGradients([], specific, dict(zip(used.get(task, []), uses, strict=True)))
            for by_task, entry in zip(scores, task_scores, strict=True):
                by_task |= entry
        return self._combined(scores, shared, in_trunk, heads)

    def _over_tasks(
        self, batch: Batch, chosen: tf.Tensor, of_task: Callable[..., Any], state: Any
    ) -> tuple[SharedGradients, Tensors, Any]:
        """Loop over some tasks and collect their gradients.

        Args:
            chosen: the tasks' positions in the batch, int32 `[n]`.
            of_task: a position, and `state` -> the gradients of the shared variables, those of the task-specific variables in
                the trunk, and the new `state`.
            state: loop variables.

        Returns:
            The results of `of_task`, with the gradients of all tasks for each shared variable.
        """
        positions = tf.constant([self.model.task_names.index(task) for task in batch.y])
        number, turns = len(self.model.task_names), tf.size(chosen)

        def turn(done: tf.Tensor, arrays: Any, in_trunk: Any, state: Any) -> tuple[Any, Any, Any, Any]:
            shared, added, state = of_task(chosen[done], state)
            if shared:
                task, of_variables = positions[chosen[done]], zip(arrays, shared, self.shared, strict=True)
                arrays = [
                    array.write(done, gradient.of_task(task, v.shape[0]))
                    if isinstance(gradient, RowGradients)
                    else array.write(task, gradient)
                    for array, gradient, v in of_variables
                ]
            # The other tasks' gradients of task-specific variables are 0.
            return done + 1, arrays, [a + b for a, b in zip(in_trunk, added, strict=True)], state

        arrays = [
            RowGradients.arrays(turns, v)
            if id(v) in self.tables
            else tf.TensorArray(tf.float32, number, element_shape=[math.prod(v.shape)])
            for v in self.shared
        ]
        start = (0, arrays, [tf.zeros(v.shape, v.dtype) for v in self._specific_trunk_variables()], state)
        _, arrays, in_trunk, state = tf.while_loop(lambda done, *_: done < turns, turn, start, parallel_iterations=1)
        return [array.read() if isinstance(array, RowGradients) else array.stack() for array in arrays], in_trunk, state

    def _run_trunk(self, batch: Batch, training: bool) -> TrunkOutputs:
        with tf.GradientTape(persistent=True) as tape:
            shared = self.model.trunk(batch.x, training)
        # The same tensor may have two names.
        tensors = {id(value): value for value in keras.tree.flatten(shared) if tf.convert_to_tensor(value).dtype.is_floating}
        return TrunkOutputs(shared, list(tensors.values()), tape)

    def _run_heads(
        self, batch: Batch, seeds: Mapping[str, tf.Tensor], training: bool, trunk: TrunkOutputs
    ) -> tuple[Scores, dict[str, HeadGradients]]:
        """Run the forward pass of the branches and heads of a batch's tasks, and the backward pass to the trunk's outputs."""
        tensors = trunk.tensors
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(tensors)
            scores = score(self.model, batch, training, trunk.shared)
        heads = {}
        for task in batch.y:
            sources = [*tensors, *(v.value for v in (*self.task_specific[task], *self.shared))]
            gradients = tape.gradient(scores.losses[task], sources, seeds[task])
            first, last = len(tensors), len(tensors) + len(self.task_specific[task])
            dense = [_dense(gradient, source) for gradient, source in zip(gradients[:last], sources[:last], strict=True)]
            shared = {
                n: _dense(gradient, sources[last + n]) for n, gradient in enumerate(gradients[last:]) if gradient is not None
            }
            heads[task] = HeadGradients(dense[:first], dense[first:], shared)
        return scores, heads

    def _through_trunk(self, trunk: TrunkOutputs, gradients: Tensors) -> tuple[SharedGradients, Tensors]:
        """Backpropagate a task's gradients of the trunk's outputs to the shared and the task-specific variables."""
        if not gradients:
            return [], []
        variables = [*self.shared, *self._specific_trunk_variables()]
        of_variables = trunk.tape.gradient(trunk.tensors, [v.value for v in variables], output_gradients=gradients)
        pairs = list(zip(of_variables, variables, strict=True))
        shared = [
            RowGradients.of(gradient, v) if id(v) in self.tables else _flat(_dense(gradient, v.value))
            for gradient, v in pairs[: len(self.shared)]
        ]
        return shared, [_dense(gradient, v.value) for gradient, v in pairs[len(self.shared) :]]

    def _specific_trunk_variables(self) -> list[keras.Variable]:
        return [self.task_specific[task][n] for task, n in self._specific_in_trunk]

    def _combined(
        self, scores: Scores, shared: SharedGradients, in_trunk: Tensors, heads: Mapping[str, HeadGradients]
    ) -> ScoresAndGradients:
        """Add the gradients through the trunk and the direct ones of branches and heads."""
        for (task, n), gradient in zip(self._specific_in_trunk, in_trunk, strict=True):
            if task in heads:
                heads[task].task_specific[n] += gradient
        for n in sorted({n for head in heads.values() for n in head.shared}):
            variable, uses = self.shared[n], {task: head.shared[n] for task, head in heads.items() if n in head.shared}
            if id(variable) in self.tables:
                index, length = self.model.task_names.index, variable.shape[0]
                more = [RowGradients.of(gradient, variable).of_task(index(task), length) for task, gradient in uses.items()]
                shared[n] = RowGradients.joined([shared[n], *more])
            else:
                zero = tf.zeros([math.prod(variable.shape)])
                shared[n] += tf.stack([_flat(uses[task]) if task in uses else zero for task in self.model.task_names])
        return ScoresAndGradients(scores, shared, {task: head.task_specific for task, head in heads.items()})

    def _specs(self, batch: Batch) -> ScoresAndGradients:
        """Shapes and dtypes of a batch's scores and gradients."""
        scores, task_specific = Scores({}, {}, {}), {}
        for task in batch.y:
            task_scores, task_specific[task] = self._head_specs(task)
            for by_task, entry in zip(scores, task_scores, strict=True):
                by_task |= entry
        number = len(self.model.task_names)
        shared = [
            RowGradients(tf.TensorSpec([None, v.shape[1]]), tf.TensorSpec([None], tf.int64))
            if id(v) in self.tables
            else tf.TensorSpec([number, math.prod(v.shape)])
            for v in self.shared
        ]
        return ScoresAndGradients(scores, shared, task_specific)

    def _head_specs(self, task: str) -> tuple[Scores, Tensors]:
        """Shapes and dtypes of one task's scores and task-specific gradients."""
        statistics = [tf.TensorSpec(metric.total.shape) for metric in self.model.task_metrics[task].values()]
        specific = [tf.TensorSpec(v.shape, v.dtype) for v in self.task_specific[task]]
        return Scores({task: tf.TensorSpec([])}, {task: tf.TensorSpec([])}, {task: statistics}), specific


def dense_gradients(tape: tf.GradientTape, targets: Any, sources: Sequence[Any], seeds: Any) -> Tensors:
    """Return dense gradients with the shapes of their sources, 0 for a source without a gradient."""
    gradients = tape.gradient(targets, sources, output_gradients=seeds)
    return [_dense(gradient, source) for gradient, source in zip(gradients, sources, strict=True)]


def _dense(gradient: Any, source: Any) -> tf.Tensor:
    return tf.zeros_like(source) if gradient is None else tf.ensure_shape(tf.convert_to_tensor(gradient), source.shape)


def _flat(gradient: tf.Tensor) -> tf.Tensor:
    return tf.reshape(tf.cast(gradient, tf.float32), [-1])
