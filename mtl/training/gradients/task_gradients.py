"""A step's gradients where a balancer makes the update of the tasks' gradients."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from mtl.training.gradients.dependencies import common_to_tasks, dependencies_of
from mtl.training.gradients.gradients_by_rows import GradientsByRows, dense_gradients
from mtl.training.gradients.row_gradients import RowGradients
from mtl.training.keras_internals import model_internals
from mtl.training.replicas import replicas, sum_before, sum_gradients, sum_over_replicas
from mtl.training.scoring import Batch, Scores, Totals, penalty, score, total
from mtl.utils import unknown_name

__all__ = ["Step", "TaskGradients"]

#: Task -> gradients of some variables.
ByTask = dict[str, list[tf.Tensor]]


class Step(NamedTuple):
    """What a balancer of gradients makes of a batch.

    Args:
        gradients: of the trained variables, of the whole batch, times the optimizer's scale; None where nothing reaches one.
        totals: the batch's.
        gramian: the products of the tasks' gradients, float32 `[K, K]`.
        slopes: the products of the tasks' gradients with the update, float32 `[K]`.
        length: the squared norm of the update, a float32 scalar.
    """

    gradients: list[Any]
    totals: Totals
    gramian: tf.Tensor
    slopes: tf.Tensor
    length: tf.Tensor


class Found(NamedTuple):
    """The tasks' gradients of a batch, of losses that are weighted sums times `seeds`.

    Args:
        scores: of this replica's rows.
        rows: what is compared: of each variable, or each feature, its gradients `[K, n]`; of a table that is looked up, of the
            rows of it that the batch has.
        own: the gradients of the variables that one task alone reaches.
        update: weights `[K]` of the rows -> the gradients of the shared variables.
    """

    scores: Scores
    rows: list[tf.Tensor]
    own: ByTask
    update: Callable[[tf.Tensor], list[Any]]


class TaskGradients:
    """What the tasks share, how their gradients of it are found, and what a balancer makes of them.

    A variable that two or more tasks reach gets the balancer's update; one that a single task reaches gets that task's gradient.

    A balancer that needs no more than the Gramian can compare gradients where that costs less: at the features that the tasks
    share, or at the variables of some layers. One pass back through the encoders follows, of the weighted losses.

    Args:
        model: the engine, whose balancer needs a Gramian or gradients.
        at: `"parameters"`, `"representation"`, or names of layers.

    Raises:
        ValueError: the tasks share nothing there, or the balancer needs the gradients of all parameters.
    """

    def __init__(self, model: Any, at: str | Sequence[str] = "parameters"):
        self.model, self.at = model, at
        reached = dependencies_of(model)
        if adding := model_internals.layers_with_losses(model):
            raise ValueError(
                f"Gradients are those of the tasks' losses; the layers {adding} add losses of their own (add_loss, an activity "
                "regularizer), which are no task's. Leave them out, or balance losses, as UncertaintyWeighting does."
            )
        trained = {id(v) for v in model.trainable_variables}
        common = common_to_tasks(reached.variables)
        self.shared = [v for v in common if id(v) in trained]
        several = {id(v) for v in common}
        self.own = {task: [v for v in found if id(v) in trained - several] for task, found in reached.variables.items()}
        #: Gradients that are compared, and not kept, on one replica, may be of any length.
        slices = model.balancer.needs == "gramian" and model.balancer.batches == 1
        slices &= model.distribute_strategy.num_replicas_in_sync == 1 and not model.static_shapes
        self.gradients = GradientsByRows(model, reached, self.shared, self.own, slices)
        #: Where the balancer's state has room for variables that are frozen now: how many numbers each shared variable has.
        self._room = [
            (math.prod(v.shape), id(v) in trained) for v in common if id(v) in trained or model.balancer.tracks_gradients
        ]
        if not self.shared and len(model.task_names) > 1:
            raise ValueError(
                f"Gradients are compared where tasks share variables; {list(model.task_names)} share none that is trained. "
                "Train a shared encoder, or balance losses, as UncertaintyWeighting does."
            )
        if at != "parameters" and (model.balancer.needs == "jacobian" or model.balancer.batches > 1):
            raise ValueError(
                f"{type(model.balancer).__name__} needs the gradients of all shared parameters; got gradients_at={at!r}. "
                "Leave it out."
            )
        self.compared = [] if isinstance(at, str) else self._variables_of(at)

    def _variables_of(self, names: Sequence[str]) -> list[keras.Variable]:
        layers = model_internals.layers_in(self.model)
        for name in names:
            if name not in (known := {layer.name for layer in layers}):
                raise unknown_name("layer to compare gradients at", name, known)
        wanted = {id(v) for layer in layers if layer.name in names for v in layer.trainable_variables}
        variables = [v for v in self.shared if id(v) in wanted]
        if not variables:
            raise ValueError(f"Gradients are compared at trained variables that tasks share; the layers {list(names)} have none.")
        return variables

    # The step -----------------------------------------------------------------------------------------------------

    def step(self, data: Any) -> Step:
        """What the balancer makes of a batch, of which each replica gives its rows."""
        model, balancer = self.model, self.model.balancer
        batch = Batch.of(model, data)
        scale = tf.cast(model.optimizer.scale_loss(tf.constant(1.0)), tf.float32)
        parts = [batch] if balancer.batches == 1 else _halves(batch)
        sizes = sum_over_replicas([self._sizes(part) for part in parts])
        size = tf.add_n(sizes)
        found = [self._found(part, scale, each) for part, each in zip(parts, sizes, strict=True)]
        added, of_penalty = self._penalty(scale)
        scores = keras.tree.map_structure(lambda *each: tf.add_n(each), *[each.scores for each in found])
        totals = total(model, batch, scores, added)

        # Losses were divided by the sums of their rows' weights; what the heads count is known only now.
        counted = tf.math.divide_no_nan(size, totals.weights)
        shares = [tf.math.divide_no_nan(each, size) for each in sizes]
        losses, active = totals.means, totals.active
        heads, of_balancer = self._combination(losses, active, scale)
        unit = counted / scale
        rows = found[0].rows
        if len(parts) > 1:
            pairs = zip(*(each.rows for each in found), strict=True)
            rows = [tf.add_n([share[:, None] * row for share, row in zip(shares, pair, strict=True)]) for pair in pairs]
        gramian = self._gramian(rows, rows) * unit[:, None] * unit
        if balancer.needs == "gramian":
            shown = gramian
            if len(parts) > 1:  # What a task has rows of in one half only is known from the whole batch.
                both = tf.reduce_all(tf.stack(sizes) > 0, axis=0)
                crossed = self._gramian(found[0].rows, found[1].rows) * unit[:, None] * unit
                shown = tf.where(both[:, None] & both, crossed, gramian)
            weights = balancer.weights(shown, active, losses)
            slopes = tf.linalg.matvec(gramian, weights)
            length = tf.tensordot(weights, slopes, 1)
            update = (found[0].update if len(parts) == 1 else _update_of(self.shared, rows))(weights * counted)
        else:
            jacobian = self._with_frozen(rows) * unit[:, None]
            direction = balancer.aggregate(jacobian, active, losses)
            slopes, length = tf.linalg.matvec(jacobian, direction), tf.tensordot(direction, direction, 1)
            pieces = tf.split(direction * scale, [numbers for numbers, _ in self._room])
            moved = [piece for piece, (_, trained) in zip(pieces, self._room, strict=True) if trained]
            update = [tf.reshape(piece, v.shape) for piece, v in zip(moved, self.shared, strict=True)]

        gradients = {id(v): each for v, each in zip(self.shared, update, strict=True) if each is not None}
        for i, task in enumerate(model.task_names):
            for n, variable in enumerate(self.own[task] if task in batch.y else ()):
                factors = [heads[i] * counted[i] * share[i] for share in shares]
                mine = [factor * each.own[task][n] for factor, each in zip(factors, found, strict=True)]
                gradients[id(variable)] = tf.add_n(mine)
        gradients |= of_balancer
        for key, each in of_penalty.items():
            gradients[key] = gradients[key] + each if key in gradients else each
        return Step([gradients.get(id(v)) for v in model.trainable_variables], totals, gramian, slopes, length)

    def jacobian(self, data: Any) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor]:
        """The tasks' gradients of the shared variables, of each `[K, n]`, without dropout; and what `losses` gives."""
        batch = Batch.of(self.model, data)
        (size,) = sum_over_replicas([self._sizes(batch)])
        found = self.gradients.of(batch, _divided(self.model, tf.constant(1.0), size), False)
        totals = total(self.model, batch, found.scores, tf.constant(0.0))
        counted = tf.math.divide_no_nan(size, totals.weights)
        count = len(self.model.task_names)
        pairs = zip(found.shared, self.shared, strict=True)
        rows = [each.dense(count, v.shape[0]) if isinstance(each, RowGradients) else each for each, v in pairs]
        return [counted[:, None] * each for each in sum_gradients(rows)], totals.means, totals.active

    def losses(self, data: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """The tasks' losses `[K]`, without dropout, and which tasks have a labelled row, bool `[K]`."""
        batch = Batch.of(self.model, data)
        totals = total(self.model, batch, score(self.model, batch, False), tf.constant(0.0))
        return totals.means, totals.active

    def _with_frozen(self, rows: Sequence[tf.Tensor]) -> tf.Tensor:
        """The tasks' gradients side by side, `[K, P]`: 0 for frozen variables."""
        given, count = iter(rows), len(self.model.task_names)
        return tf.concat([next(given) if trained else tf.zeros([count, numbers]) for numbers, trained in self._room], axis=1)

    def _sizes(self, batch: Batch) -> tf.Tensor:
        """The sums of the tasks' weights on this replica, `[K]`."""
        return tf.stack([tf.reduce_sum(batch.weights.get(task, 0.0)) for task in self.model.task_names])

    def _found(self, batch: Batch, scale: tf.Tensor, size: tf.Tensor) -> Found:
        seeds = _divided(self.model, scale, size)
        return self._at_parameters(batch, seeds) if self.at == "parameters" else self._at_points(batch, seeds)

    def _combination(self, losses: tf.Tensor, active: tf.Tensor, scale: tf.Tensor) -> tuple[tf.Tensor, dict[int, tf.Tensor]]:
        """What the losses count for the heads, `[K]`; and the gradients of the variables that the balancer trains itself."""
        learned = self.model.balancer.state.trainable_variables
        with tf.GradientTape() as tape:
            tape.watch(losses)
            combined = self.model.balancer.combine(losses, active)
        sources = [losses, *(v.value for v in learned)]
        heads, *found = tape.gradient(combined, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return heads, {id(v): each * scale for v, each in zip(learned, found, strict=True)}

    def _penalty(self, scale: tf.Tensor) -> tuple[tf.Tensor, dict[int, tf.Tensor]]:
        """This replica's part of the penalty, and the gradients of the whole."""
        variables = self.model.trainable_variables
        with tf.GradientTape() as tape:
            added = penalty(self.model)
        found = tape.gradient(added, [v.value for v in variables])
        whole = replicas() * scale
        return added, {id(v): whole * tf.convert_to_tensor(g) for v, g in zip(variables, found, strict=True) if g is not None}

    def _gramian(self, rows: Sequence[tf.Tensor], others: Sequence[tf.Tensor]) -> tf.Tensor:
        gramian = tf.add_n([tf.matmul(a, b, transpose_b=True) for a, b in zip(rows, others, strict=True)])
        return sum_over_replicas([gramian])[0] if self.at == "representation" else gramian

    # Where gradients are compared ---------------------------------------------------------------------------------

    def _at_parameters(self, batch: Batch, seeds: Mapping[str, tf.Tensor]) -> Found:
        """Gradients at all shared variables."""
        scores, shared, own = self.gradients.of(batch, seeds, True)
        count = len(self.model.task_names)
        pairs = zip(shared, self.shared, strict=True)
        parts = [each.compact(count, v.shape[0]) if isinstance(each, RowGradients) else (each, None) for each, v in pairs]
        rows = sum_gradients([each for each, _ in parts])
        return Found(scores, rows, _summed(own), _update_of(self.shared, rows, [taken for _, taken in parts]))

    def _at_points(self, batch: Batch, seeds: Mapping[str, tf.Tensor]) -> Found:
        """Gradients at features, or at some variables."""
        tasks = list(batch.y)
        with tf.GradientTape(persistent=True) as tape:
            shared = self.model.trunk(batch.x, True)
            scores = score(self.model, batch, True, shared)
        points = [v.value for v in self.compared] or _shared_features(tape, shared)
        compared: ByTask = {}
        own: ByTask = {}
        for task in tasks:
            found = dense_gradients(tape, scores.losses[task], [*points, *(v.value for v in self.own[task])], seeds[task])
            compared[task], own[task] = found[: len(points)], found[len(points) :]
        rows = self._rows(compared, points)
        if self.compared:
            rows = sum_gradients(rows)

        def update(weights: tf.Tensor) -> list[Any]:
            counts = dict(zip(self.model.task_names, tf.unstack(weights), strict=True))
            losses, given = [scores.losses[task] for task in tasks], [counts[task] * seeds[task] for task in tasks]
            return sum_gradients(tape.gradient(losses, [v.value for v in self.shared], output_gradients=given))

        return Found(scores, rows, _summed(own), update)

    def _rows(self, found: ByTask, points: Sequence[Any]) -> list[tf.Tensor]:
        """Of each point the tasks' gradients, `[K, n]`; zeros for a task without targets."""
        rows = []
        for i, point in enumerate(points):
            flat = {task: tf.reshape(tf.cast(each[i], tf.float32), [-1]) for task, each in found.items()}
            zero = None if len(flat) == len(self.model.task_names) else tf.zeros([tf.size(point)])
            rows.append(tf.stack([flat.get(task, zero) for task in self.model.task_names]))
        return rows


def _divided(model: Any, scale: tf.Tensor, size: tf.Tensor) -> dict[str, tf.Tensor]:
    """Task -> what its summed losses count, so that gradients are of the size of a mean's."""
    return dict(zip(model.task_names, tf.unstack(tf.math.divide_no_nan(scale, size)), strict=True))


def _summed(own: ByTask) -> ByTask:
    """The sums over the replicas."""
    return keras.tree.pack_sequence_as(own, sum_gradients(keras.tree.flatten(own)))


def _update_of(
    variables: Sequence[keras.Variable], rows: Sequence[tf.Tensor], taken: Sequence[tf.Tensor | None] | None = None
) -> Callable[[tf.Tensor], list[Any]]:
    """Weights `[K]` -> the weighted sums of the variables' gradients; of a table, of those in the rows `taken`."""

    def whole(each: tf.Tensor, variable: keras.Variable, which: tf.Tensor | None) -> tf.Tensor:
        if which is None:
            return tf.reshape(each, variable.shape)
        return tf.math.unsorted_segment_sum(tf.reshape(each, [-1, variable.shape[1]]), which, variable.shape[0])

    def update(weights: tf.Tensor) -> list[Any]:
        sums = [tf.linalg.matvec(row, weights, transpose_a=True) for row in rows]
        return [whole(*each) for each in zip(sums, variables, taken or [None] * len(sums), strict=True)]

    return update


def _shared_features(tape: tf.GradientTape, shared: Mapping[str, Any]) -> list[tf.Tensor]:
    """The features that the trunk gives to all tasks, without those that are made of others."""
    if "states" in shared:
        raise ValueError(
            "Gradients are compared at the encoder's last state, and here a task reads all of its states. "
            "Leave out gradients_at, or readout='scalar_mix'."
        )
    values = list({id(value): value for value in shared.values() if tf.convert_to_tensor(value).dtype.is_floating}.values())
    if not values:
        raise ValueError(
            "Gradients are compared at features that tasks share, and here each task gets its own. Leave gradients_at out, or "
            "share the encoder, as sharing.Hard does."
        )
    made = [any(tape.gradient(value, other) is not None for other in values if other is not value) for value in values]
    return [value for value, of_others in zip(values, made, strict=True) if not of_others]


def _halves(batch: Batch) -> list[Batch]:
    """Two batches, of each task's labelled rows in turn."""
    labelled = {task: tf.cast(each, tf.float32) for task, each in batch.labelled().items()}
    before = sum_before(tf.stack([tf.reduce_sum(each) for each in labelled.values()]))
    halves = []
    for half in (0.0, 1.0):
        weights = {}
        for i, (task, weight) in enumerate(batch.weights.items()):
            place = before[i] + tf.cumsum(labelled[task], exclusive=True)
            mine = tf.cast(tf.equal(place % 2.0, half), tf.float32)
            weights[task] = weight * tf.reshape(mine, [-1, *[1] * (weight.shape.rank - 1)])
        halves.append(batch._replace(weights=weights))
    return halves
