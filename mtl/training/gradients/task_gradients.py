"""A step's gradients where a balancer makes the update of the tasks' gradients."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from mtl.training.gradients.dependencies import common_to_tasks, dependencies_of
from mtl.training.gradients.gradients_by_rows import GradientsByRows, dense_gradients
from mtl.training.gradients.row_gradients import RowGradients
from mtl.training.keras_internals.layers import layers_in, layers_with_losses
from mtl.training.measured import ByTask, Measured, SharedRows, Step, update_of
from mtl.training.protocols import TrainableModel
from mtl.training.replicas import replicas, sum_before, sum_gradients, sum_over_replicas
from mtl.training.scoring import Batch, Scores, joined, penalty, score, total
from mtl.utils import unknown_name

__all__ = ["TaskGradients"]


class Found(NamedTuple):
    """The tasks' gradients of a batch, of losses that are weighted sums times `seeds`.

    Args:
        scores: of this replica's rows.
        rows: what is compared: of each variable, or each feature, its gradients `[K, n]`; of a table that is looked up, of the
            rows of it that the batch has.
        own: the gradients of the variables that one task alone reaches.
        update: weights `[K]` of the rows -> the gradients of the shared variables.
        shared: the gradients of the shared variables, for a window of batches.
    """

    scores: Scores
    rows: list[tf.Tensor]
    own: ByTask
    update: Callable[[tf.Tensor], list[Any]]
    shared: SharedRows


class TaskGradients:
    """What the tasks share, how their gradients of it are found, and what a balancer makes of them.

    A variable that two or more tasks reach gets the balancer's update; one that a single task reaches gets that task's gradient.

    A balancer that needs no more than the Gramian can compare gradients where that costs less: at the features that the tasks
    share, or at the variables of some layers. One pass back through the encoders follows, of the weighted losses.

    Args:
        model: the engine.
        at: `"parameters"`, `"representation"`, or names of layers.
        window: whether the gradients of several batches make one update, so that each task's are kept.

    Raises:
        ValueError: the tasks share nothing there, or the balancer needs the gradients of all parameters.
    """

    def __init__(self, model: TrainableModel, at: str | Sequence[str] = "parameters", window: bool = False):
        self.model, self.at, self.window = model, at, window
        balancer = model.balancer
        #: Whether the update is made of gradients; else of losses.
        self.compares = balancer.needs != "losses" and len(model.task_names) > 1
        reached = dependencies_of(model)
        if adding := layers_with_losses(model):
            raise ValueError(
                f"Gradients are those of the tasks' losses; the layers {adding} add losses of their own (add_loss, an activity "
                "regularizer), which are no task's. Leave them out, or balance losses, as UncertaintyWeighting does"
                f"{', without gradient_accumulation_steps' * window}."
            )
        trained = {id(v) for v in model.trainable_variables}
        common = common_to_tasks(reached.variables)
        self.shared = [v for v in common if id(v) in trained]
        several = {id(v) for v in common}
        self.own = {task: [v for v in found if id(v) in trained - several] for task, found in reached.variables.items()}
        #: Gradients that are compared, and not kept, on one replica, may be of any length.
        slices = (balancer.needs == "gramian" and balancer.batches == 1) or (window and not self.compares)
        slices &= model.distribute_strategy.num_replicas_in_sync == 1 and not model.static_shapes
        slices &= not (window and at == "representation" and self.compares)
        self.gradients = GradientsByRows(model, reached, self.shared, self.own, slices)
        #: Where the balancer's state has room for variables that are frozen now: how many numbers each shared variable has.
        self._room = [(math.prod(v.shape), id(v) in trained) for v in common if id(v) in trained or balancer.tracks_gradients]
        if not self.shared and self.compares:
            raise ValueError(
                f"Gradients are compared where tasks share variables; {list(model.task_names)} share none that is trained. "
                "Train a shared encoder, or balance losses, as UncertaintyWeighting does."
            )
        if at != "parameters" and (balancer.needs == "jacobian" or balancer.batches > 1):
            raise ValueError(
                f"{type(balancer).__name__} needs the gradients of all shared parameters; got gradients_at={at!r}. Leave it out."
            )
        self.compared = [] if isinstance(at, str) else self._variables_of(at)

    def _variables_of(self, names: Sequence[str]) -> list[keras.Variable]:
        layers = layers_in(self.model)
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
        return self.combine(self.measure(data))

    def measure(self, data: Any, before: tf.Tensor | float = 0.0) -> Measured:
        """The tasks' gradients of a batch, of which each replica gives its rows.

        Args:
            data: the replica's rows.
            before: how many labelled rows each task had earlier in the window, `[K]`.
        """
        model = self.model
        batch, scale = Batch.of(model, data), self.scale()
        parts = [batch] if model.balancer.batches == 1 else _halves(batch, model.task_names, before)
        sizes = sum_over_replicas([self._sizes(part) for part in parts])
        found = [self._found(part, scale, each) for part, each in zip(parts, sizes, strict=True)]
        added, of_penalty = (penalty(model), {}) if self.window else self.penalty(scale)
        scores = joined(model, [each.scores for each in found])
        totals = total(model, batch, scores, added)
        own = found[0].own
        if len(parts) > 1:
            shares = tf.unstack(tf.math.divide_no_nan(tf.stack(sizes), tf.add_n(sizes)), axis=1)
            for share, task in zip(shares, model.task_names, strict=True):
                pairs = zip(*(half.own.get(task, []) for half in found), strict=True)
                own[task] = [share[0] * first + share[1] * second for first, second in pairs]
        rows, shared = [each.rows for each in found], [each.shared for each in found]
        gramian = self._gramian(rows[0], rows[0]) if self.at == "representation" and self.compares else None
        return Measured(rows, shared, own, sizes, totals, found[0].update, gramian, of_penalty)

    def combine(self, measured: Measured) -> Step:
        """What the balancer makes of measured gradients."""
        model, scale = self.model, self.scale()
        sizes, totals = measured.sizes, measured.totals
        size = tf.add_n(sizes)
        # Losses were divided by the sums of their rows' weights; what the heads count is known only now.
        counted = tf.math.divide_no_nan(size, totals.weights)
        losses, active = totals.means, totals.active
        heads, of_balancer = self._combination(losses, active, scale)
        if self.compares:
            update, conflicts = self._balanced(measured, size, counted, scale)
        else:
            update, conflicts = measured.update(heads * counted), None
        gradients = {id(v): each for v, each in zip(self.shared, update, strict=True) if each is not None}
        for i, task in enumerate(model.task_names):
            mine = zip(self.own[task], measured.own.get(task, ()), strict=False)
            gradients |= {id(variable): heads[i] * counted[i] * each for variable, each in mine}
        gradients |= of_balancer
        for key, each in measured.of_penalty.items():
            gradients[key] = gradients[key] + each if key in gradients else each
        return Step([gradients.get(id(v)) for v in model.trainable_variables], totals, conflicts)

    def _balanced(self, measured: Measured, size: tf.Tensor, counted: tf.Tensor, scale: tf.Tensor) -> tuple[list[Any], Any]:
        """A balancer's update of the shared variables, and the conflicts."""
        balancer, sizes = self.model.balancer, measured.sizes
        losses, active = measured.totals.means, measured.totals.active
        unit = counted / scale
        rows = measured.rows[0]
        if len(sizes) > 1:
            shares = [tf.math.divide_no_nan(each, size) for each in sizes]
            pairs = zip(*measured.rows, strict=True)
            rows = [tf.add_n([share[:, None] * row for share, row in zip(shares, pair, strict=True)]) for pair in pairs]
        gramian = self._gramian(rows, rows) if measured.gramian is None else measured.gramian
        gramian = gramian * unit[:, None] * unit
        if balancer.needs == "gramian":
            shown = gramian
            if len(sizes) > 1:  # What a task has rows of in one half only is known from the whole batch.
                both = tf.reduce_all(tf.stack(sizes) > 0, axis=0)
                crossed = self._gramian(*measured.rows) * unit[:, None] * unit
                shown = tf.where(both[:, None] & both, crossed, gramian)
            weights = balancer.weights(shown, active, losses)
            slopes = tf.linalg.matvec(gramian, weights)
            length = tf.tensordot(weights, slopes, 1)
            made = measured.update if len(sizes) == 1 else update_of(self.shared, rows)
            return made(weights * counted), (gramian, slopes, length)
        jacobian = self._with_frozen(rows) * unit[:, None]
        direction = balancer.aggregate(jacobian, active, losses)
        slopes, length = tf.linalg.matvec(jacobian, direction), tf.tensordot(direction, direction, 1)
        pieces = tf.split(direction * scale, [numbers for numbers, _ in self._room])
        moved = [piece for piece, (_, trained) in zip(pieces, self._room, strict=True) if trained]
        update = [tf.reshape(piece, v.shape) for piece, v in zip(moved, self.shared, strict=True)]
        return update, (gramian, slopes, length)

    def scale(self) -> tf.Tensor:
        """What the optimizer multiplies losses by, a float32 scalar."""
        return tf.cast(self.model.optimizer.scale_loss(tf.constant(1.0)), tf.float32)

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
        at_parameters = self.at == "parameters" or (self.window and self.compared) or not self.compares
        return self._at_parameters(batch, seeds) if at_parameters else self._at_points(batch, seeds)

    def _combination(self, losses: tf.Tensor, active: tf.Tensor, scale: tf.Tensor) -> tuple[tf.Tensor, dict[int, tf.Tensor]]:
        """What the losses count for the heads, `[K]`; and the gradients of the variables that the balancer trains itself."""
        learned = self.model.balancer.state.trainable_variables
        with tf.GradientTape() as tape:
            tape.watch(losses)
            combined = self.model.balancer.combine(losses, active)
        sources = [losses, *(v.value for v in learned)]
        heads, *found = tape.gradient(combined, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return heads, {id(v): each * scale for v, each in zip(learned, found, strict=True)}

    def penalty(self, scale: tf.Tensor) -> tuple[tf.Tensor, dict[int, tf.Tensor]]:
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

    def compared_rows(self, shared: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Those of the shared variables' gradients that are compared."""
        compared = {id(v) for v in self.compared or self.shared}
        return [row for row, v in zip(shared, self.shared, strict=True) if id(v) in compared]

    # Where gradients are compared ---------------------------------------------------------------------------------

    def _at_parameters(self, batch: Batch, seeds: Mapping[str, tf.Tensor]) -> Found:
        """Gradients at all shared variables."""
        scores, shared, own = self.gradients.of(batch, seeds, True)
        count = len(self.model.task_names)
        pairs = zip(shared, self.shared, strict=True)
        parts = [each.compact(count, v.shape[0]) if isinstance(each, RowGradients) else (each, None) for each, v in pairs]
        rows, taken = sum_gradients([each for each, _ in parts]), [taken for _, taken in parts]
        kept = list(zip(rows, taken, strict=True)) if self.window else []
        return Found(scores, rows, _summed(own), update_of(self.shared, rows, taken), kept)

    def _at_points(self, batch: Batch, seeds: Mapping[str, tf.Tensor]) -> Found:
        """Gradients at features, or at some variables."""
        tasks = list(batch.y)
        with tf.GradientTape(persistent=True) as tape:
            trunk = self.model.trunk(batch.x, True)
            scores = score(self.model, batch, True, trunk)
        points = [v.value for v in self.compared] or _shared_features(tape, trunk)
        compared: ByTask = {}
        own: ByTask = {}
        through: ByTask = {}
        shared = [v.value for v in self.shared] if self.window else []
        first, last = len(points), len(points) + len(shared)
        for task in tasks:
            sources = [*points, *shared, *(v.value for v in self.own[task])]
            found = dense_gradients(tape, scores.losses[task], sources, seeds[task])
            compared[task], through[task], own[task] = found[:first], found[first:last], found[last:]
        rows = self._rows(compared, points)
        if self.compared:
            rows = sum_gradients(rows)

        def update(weights: tf.Tensor) -> list[Any]:
            counts = dict(zip(self.model.task_names, tf.unstack(weights), strict=True))
            losses, given = [scores.losses[task] for task in tasks], [counts[task] * seeds[task] for task in tasks]
            return sum_gradients(tape.gradient(losses, [v.value for v in self.shared], output_gradients=given))

        kept = [(each, None) for each in sum_gradients(self._rows(through, shared))]
        return Found(scores, rows, _summed(own), update, kept)

    def _rows(self, found: ByTask, points: Sequence[Any]) -> list[tf.Tensor]:
        """Of each point the tasks' gradients, `[K, n]`; zeros for a task without targets."""
        rows = []
        for i, point in enumerate(points):
            flat = {task: tf.reshape(tf.cast(each[i], tf.float32), [-1]) for task, each in found.items()}
            zero = None if len(flat) == len(self.model.task_names) else tf.zeros([tf.size(point)])
            rows.append(tf.stack([flat.get(task, zero) for task in self.model.task_names]))
        return rows


def _divided(model: TrainableModel, scale: tf.Tensor, size: tf.Tensor) -> dict[str, tf.Tensor]:
    """Task -> what its summed losses count, so that gradients are of the size of a mean's."""
    return dict(zip(model.task_names, tf.unstack(tf.math.divide_no_nan(scale, size)), strict=True))


def _summed(own: ByTask) -> ByTask:
    """The sums over the replicas."""
    return keras.tree.pack_sequence_as(own, sum_gradients(keras.tree.flatten(own)))


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


def _halves(batch: Batch, tasks: Sequence[str], earlier: tf.Tensor | float) -> list[Batch]:
    """Two batches, of each task's labelled rows in turn, of which there were some `[K]` earlier."""
    labelled = {task: tf.cast(each, tf.float32) for task, each in batch.labelled().items()}
    before = sum_before(tf.stack([tf.reduce_sum(each) for each in labelled.values()]))
    before += tf.gather(tf.zeros([len(tasks)]) + earlier, [list(tasks).index(task) for task in labelled])
    halves = []
    for half in (0.0, 1.0):
        weights = {}
        for i, (task, weight) in enumerate(batch.weights.items()):
            place = before[i] + tf.cumsum(labelled[task], exclusive=True)
            mine = tf.cast(tf.equal(place % 2.0, half), tf.float32)
            weights[task] = weight * tf.reshape(mine, [-1, *[1] * (weight.shape.rank - 1)])
        halves.append(batch._replace(weights=weights))
    return halves
