"""The tasks' gradients, each of its own rows."""

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

__all__ = ["GradientsByRows", "Rows", "dense_gradients"]

Tensors = list[tf.Tensor]
#: Of each shared variable, flat; of a table that is looked up, slices.
Shared = list[tf.Tensor | RowGradients]


class Rows(NamedTuple):
    """What some rows give.

    Args:
        scores: of the tasks that the batch has targets of.
        shared: of each shared variable the gradients of all tasks, float32 `[K, n]`; 0 for a task without rows. Of a table that
            is looked up, slices.
        own: task -> the gradients of the variables that it alone reaches.
    """

    scores: Scores
    shared: Shared
    own: dict[str, Tensors]


class OfHead(NamedTuple):
    """A task's gradients as far as its head goes.

    Args:
        features: of the features that it is given.
        own: of the variables that the task alone reaches.
        shared: place -> of a shared variable that the head uses itself, as one that shares the embeddings does, or that the
            task's features are made of, where each task gets its own.
    """

    features: Tensors
    own: Tensors
    shared: dict[int, tf.Tensor]


class Encoded(NamedTuple):
    """What the trunk gives of some rows, the tensors in it that have gradients, and how these go back."""

    shared: Any
    points: Tensors
    tape: tf.GradientTape


class GradientsByRows:
    """Each task's gradients of the variables that it reaches.

    Rows that are labelled for one task alone go through the encoders with that task's others, so that no gradient costs more
    than its own rows; rows with labels for several tasks go through once, and back once for each task. The trunk
    is traced twice, for rows of either kind, however many tasks there are.

    Args:
        model: the engine.
        dependencies: which variables the tasks reach, and how.
        shared: the variables that two or more tasks depend on.
        own: task -> the variables that it alone reaches.
        slices: whether the gradients of tables that the encoder looks up are kept as slices, in shapes that depend on the data.
    """

    def __init__(
        self,
        model: TrainableModel,
        dependencies: Dependencies,
        shared: Sequence[keras.Variable],
        own: Mapping[str, Sequence[keras.Variable]],
        slices: bool = False,
    ):
        self.model, self.shared, self.own = model, shared, own
        self.tables = {id(v) for v in dependencies.looked_up if slices} & {id(v) for v in shared}
        behind = {id(v) for v in dependencies.behind}
        #: The own variables that features are made of: a task, and the variable's place among its own.
        self._behind = [(task, n) for task, each in own.items() for n, v in enumerate(each) if id(v) in behind]

    def of(self, batch: Batch, seeds: Mapping[str, tf.Tensor], training: bool) -> Rows:
        """What a batch's rows give.

        Args:
            batch: this replica's rows.
            seeds: task -> what its summed losses count.
            training: whether there is dropout.
        """
        if len(batch.y) == 1 or self.model.static_shapes:  # All rows then go through all heads.
            return self._together(batch, seeds, training)
        with advance_generators(self.model, times=len(batch.y)):
            return self._apart(batch, seeds, training)

    def _apart(self, batch: Batch, seeds: Mapping[str, tf.Tensor], training: bool) -> Rows:
        """What the rows of one task each give, and those of several tasks; no work where there are none of a kind."""
        labelled = tf.stack(list(batch.labelled().values()))
        count = tf.math.count_nonzero(labelled, axis=0)
        alone, several = labelled & (count == 1), count > 1
        any_alone, any_several = tf.reduce_any(alone), tf.reduce_any(several)
        like = self._like(batch)
        specs = keras.tree.flatten(like)

        def together() -> Tensors:
            rows = batch.take(tf.reshape(tf.where(several), [-1]), list(batch.y))
            return keras.tree.flatten(self._together(rows, seeds, training))

        def one_by_one() -> Tensors:
            return keras.tree.flatten(self._one_by_one(alone, batch, seeds, training))

        def nothing() -> Tensors:
            return [tf.zeros([0] * spec.shape.rank, spec.dtype) for spec in specs]

        def sums() -> Tensors:
            pairs = zip(both, each, specs, strict=True)  # RowGradients, whose number is not known, follow one another.
            total = [tf.concat([a, b], axis=0) if spec.shape[:1] == [None] else a + b for a, b, spec in pairs]
            shaped = [
                [tf.ensure_shape(value, spec.shape) for value, spec in zip(part, specs, strict=True)] for part in (both, each)
            ]
            scores = joined(self.model, [keras.tree.pack_sequence_as(like, part).scores for part in shaped])
            return keras.tree.flatten(keras.tree.pack_sequence_as(like, total)._replace(scores=scores))

        both = tf.cond(any_several, together, nothing)
        each = tf.cond(any_alone | ~any_several, one_by_one, nothing)  # Zeros where no row has a label.
        found = tf.cond(any_several, lambda: tf.cond(any_alone, sums, lambda: list(both)), lambda: list(each))
        found = [tf.ensure_shape(value, spec.shape) for value, spec in zip(found, specs, strict=True)]
        return keras.tree.pack_sequence_as(like, found)

    def _together(self, batch: Batch, seeds: Mapping[str, tf.Tensor], training: bool) -> Rows:
        """What rows give that go through the encoders once, and back once for each task."""
        encoded = self._encode(batch, training)
        scores, heads = self._heads(batch, seeds, training, encoded)
        features = [tf.stack(each) for each in zip(*(head.features for head in heads.values()), strict=True)]

        def of_task(task: tf.Tensor, rest: tuple[()]) -> tuple[Shared, Tensors, tuple[()]]:
            return *self._back(encoded, [each[task] for each in features]), rest

        shared, behind, _ = self._in_turn(batch, tf.range(len(heads)), of_task, ())
        return self._rows(scores, shared, behind, heads)

    def _one_by_one(self, alone: tf.Tensor, batch: Batch, seeds: Mapping[str, tf.Tensor], training: bool) -> Rows:
        """What the rows give that are labelled for one task, `alone` of which is bool `[T, B]`."""
        tasks, has_rows = list(batch.y), tf.reduce_any(alone, axis=1)
        used: dict[str, list[int]] = {}

        def of_task(task: tf.Tensor, vectors: tf.TensorArray) -> tuple[Shared, Tensors, tf.TensorArray]:
            rows = batch.take(tf.reshape(tf.where(alone[task]), [-1]), tasks)
            encoded = self._encode(rows, training)

            def of_head(name: str) -> tuple[Tensors, tf.Tensor]:
                mine = rows._replace(y={name: rows.y[name]}, weights={name: rows.weights[name]})
                scores, heads = self._heads(mine, seeds, training, encoded)
                used[name] = list(heads[name].shared)
                values = keras.tree.flatten((scores, heads[name].own, list(heads[name].shared.values())))
                return heads[name].features, tf.concat([_flat(each) for each in values], axis=0)

            features, vector = tf.switch_case(task, [partial(of_head, name) for name in tasks])
            return *self._back(encoded, features), vectors.write(task, vector)

        with_rows = tf.cast(tf.reshape(tf.where(has_rows), [-1]), tf.int32)
        # What a head gives stands in a vector: tasks differ in what that is.
        vectors = tf.TensorArray(tf.float32, len(tasks), infer_shape=False, element_shape=[None])
        shared, behind, vectors = self._in_turn(batch, with_rows, of_task, vectors)
        scores, heads = Scores({}, {}, {}), {}
        for place, task in enumerate(tasks):
            variables = [self.shared[n] for n in used.get(task, [])]
            like = *self._like_head(task), [tf.TensorSpec(v.shape, v.dtype) for v in variables]
            flat = keras.tree.flatten(like)
            sizes = [math.prod(each.shape) for each in flat]
            vector = tf.cond(has_rows[place], partial(vectors.read, place), partial(tf.zeros, [sum(sizes)]))
            parts = zip(tf.split(vector, sizes), flat, strict=True)
            given = [tf.cast(tf.reshape(part, each.shape), each.dtype) for part, each in parts]
            mine, own, uses = keras.tree.pack_sequence_as(like, given)
            heads[task] = OfHead([], own, dict(zip(used.get(task, []), uses, strict=True)))
            for of_tasks, of_one in zip(scores, mine, strict=True):
                of_tasks |= of_one
        return self._rows(scores, shared, behind, heads)

    def _in_turn(self, batch: Batch, chosen: tf.Tensor, of_task: Callable[..., Any], rest: Any) -> tuple[Shared, Tensors, Any]:
        """The gradients of some tasks, one after the other.

        Args:
            chosen: the tasks' positions in the batch, int32 `[n]`.
            of_task: a place, and `rest` -> the gradients of the shared variables and of those behind, and the new `rest`.
            rest: what changes from task to task.

        Returns:
            As `of_task`: of each shared variable the gradients of all tasks.
        """
        positions = tf.constant([self.model.task_names.index(task) for task in batch.y])
        number, turns = len(self.model.task_names), tf.size(chosen)

        def turn(done: tf.Tensor, arrays: Any, behind: Any, rest: Any) -> tuple[Any, Any, Any, Any]:
            shared, added, rest = of_task(chosen[done], rest)
            if shared:
                place, of_variables = positions[chosen[done]], zip(arrays, shared, self.shared, strict=True)
                arrays = [
                    array.write(done, each.of_task(place, v.shape[0]))
                    if isinstance(each, RowGradients)
                    else array.write(place, each)
                    for array, each, v in of_variables
                ]
            # Of what one task reaches, the others' gradients are 0.
            return done + 1, arrays, [a + b for a, b in zip(behind, added, strict=True)], rest

        arrays = [
            RowGradients.arrays(turns, v)
            if id(v) in self.tables
            else tf.TensorArray(tf.float32, number, element_shape=[math.prod(v.shape)])
            for v in self.shared
        ]
        start = (0, arrays, [tf.zeros(v.shape, v.dtype) for v in self._variables_behind()], rest)
        _, arrays, behind, rest = tf.while_loop(lambda done, *_: done < turns, turn, start, parallel_iterations=1)
        return [array.read() if isinstance(array, RowGradients) else array.stack() for array in arrays], behind, rest

    def _encode(self, batch: Batch, training: bool) -> Encoded:
        """What the trunk gives to all tasks."""
        with tf.GradientTape(persistent=True) as tape:
            shared = self.model.trunk(batch.x, training)
        points = {id(value): value for value in keras.tree.flatten(shared) if tf.convert_to_tensor(value).dtype.is_floating}
        return Encoded(shared, list(points.values()), tape)  # Two names may be of one.

    def _heads(
        self, batch: Batch, seeds: Mapping[str, tf.Tensor], training: bool, encoded: Encoded
    ) -> tuple[Scores, dict[str, OfHead]]:
        """What the branches and heads give."""
        points = encoded.points
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(points)
            scores = score(self.model, batch, training, encoded.shared)
        heads = {}
        for task in batch.y:
            sources = [*points, *(v.value for v in (*self.own[task], *self.shared))]
            found = tape.gradient(scores.losses[task], sources, seeds[task])
            first, last = len(points), len(points) + len(self.own[task])
            dense = [_dense(each, source) for each, source in zip(found[:last], sources[:last], strict=True)]
            shared = {n: _dense(each, sources[last + n]) for n, each in enumerate(found[last:]) if each is not None}
            heads[task] = OfHead(dense[:first], dense[first:], shared)
        return scores, heads

    def _back(self, encoded: Encoded, features: Tensors) -> tuple[Shared, Tensors]:
        """A task's gradients of the shared variables, flat, and of those behind, made of those of the features."""
        if not features:
            return [], []
        variables = [*self.shared, *self._variables_behind()]
        found = encoded.tape.gradient(encoded.points, [v.value for v in variables], output_gradients=features)
        pairs = list(zip(found, variables, strict=True))
        shared = [
            RowGradients.of(each, v) if id(v) in self.tables else _flat(_dense(each, v.value))
            for each, v in pairs[: len(self.shared)]
        ]
        return shared, [_dense(each, v.value) for each, v in pairs[len(self.shared) :]]

    def _variables_behind(self) -> list[keras.Variable]:
        return [self.own[task][n] for task, n in self._behind]

    def _rows(self, scores: Scores, shared: Shared, behind: Tensors, heads: Mapping[str, OfHead]) -> Rows:
        """What all tasks give together: what comes through the features, and what their heads give beside."""
        for (task, n), each in zip(self._behind, behind, strict=True):
            if task in heads:
                heads[task].own[n] += each
        for n in sorted({n for head in heads.values() for n in head.shared}):
            variable, uses = self.shared[n], {task: head.shared[n] for task, head in heads.items() if n in head.shared}
            if id(variable) in self.tables:
                place, length = self.model.task_names.index, variable.shape[0]
                more = [RowGradients.of(each, variable).of_task(place(task), length) for task, each in uses.items()]
                shared[n] = RowGradients.joined([shared[n], *more])
            else:
                zero = tf.zeros([math.prod(variable.shape)])
                shared[n] += tf.stack([_flat(uses[task]) if task in uses else zero for task in self.model.task_names])
        return Rows(scores, shared, {task: head.own for task, head in heads.items()})

    def _like(self, batch: Batch) -> Rows:
        """Shapes and types of what rows give."""
        scores, own = Scores({}, {}, {}), {}
        for task in batch.y:
            of_one, own[task] = self._like_head(task)
            for of_tasks, mine in zip(scores, of_one, strict=True):
                of_tasks |= mine
        number = len(self.model.task_names)
        shared = [
            RowGradients(tf.TensorSpec([None, v.shape[1]]), tf.TensorSpec([None], tf.int64))
            if id(v) in self.tables
            else tf.TensorSpec([number, math.prod(v.shape)])
            for v in self.shared
        ]
        return Rows(scores, shared, own)

    def _like_head(self, task: str) -> tuple[Scores, Tensors]:
        """Those of what a task's head gives: its scores, and gradients of its own variables."""
        statistics = [tf.TensorSpec(metric.total.shape) for metric in self.model.task_metrics[task].values()]
        own = [tf.TensorSpec(v.shape, v.dtype) for v in self.own[task]]
        return Scores({task: tf.TensorSpec([])}, {task: tf.TensorSpec([])}, {task: statistics}), own


def dense_gradients(tape: tf.GradientTape, targets: Any, sources: Sequence[Any], seeds: Any) -> Tensors:
    """Gradients without slices, of their sources' shapes, and 0 where there is none."""
    found = tape.gradient(targets, sources, output_gradients=seeds)
    return [_dense(gradient, source) for gradient, source in zip(found, sources, strict=True)]


def _dense(gradient: Any, source: Any) -> tf.Tensor:
    return tf.zeros_like(source) if gradient is None else tf.ensure_shape(tf.convert_to_tensor(gradient), source.shape)


def _flat(gradient: tf.Tensor) -> tf.Tensor:
    return tf.reshape(tf.cast(gradient, tf.float32), [-1])
