"""Steps in which a balancer combines the tasks' gradients."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from mtl.training.gradients.dependencies import common_to_tasks, dependencies_of
from mtl.training.gradients.gradients_by_rows import GradientsByRows, dense_gradients
from mtl.training.gradients.row_gradients import RowGradients
from mtl.training.keras_internals.layers import layers_in, layers_with_losses
from mtl.training.measured import ByTask, Measured, SharedRows, Step, weighted_update
from mtl.training.protocols import TrainableModel
from mtl.training.replicas import replicas, sum_before, sum_gradients, sum_over_replicas
from mtl.training.scoring import Batch, Scores, joined, penalty, score, total
from mtl.utils import unknown_name

__all__ = ["TaskGradients"]


class BatchGradients(NamedTuple):
    """Gradients of the tasks' losses on a batch, each a weighted sum over rows times a seed.

    Args:
        scores: scores of this replica's rows.
        compared: one entry per variable, or feature, at which gradients are compared: `[K, n]`; for a lookup table, only the
            rows that the batch reads.
        task_specific: the gradients of the variables that one task alone depends on.
        update: weights `[K]` of the tasks -> the gradients of the shared variables.
        shared: the gradients of the shared variables, for a window of batches.
    """

    scores: Scores
    compared: list[tf.Tensor]
    task_specific: ByTask
    update: Callable[[tf.Tensor], list[Any]]
    shared: SharedRows


class TaskGradients:
    """Gradients of the tasks with respect to the variables that they share, and their combination by a balancer.

    A variable that two or more tasks depend on gets the balancer's update; any other gets its task's gradient.

    A balancer that needs only the Gramian can compare gradients at a lower cost: at the features that the tasks share, or at the
    variables of some layers. One backward pass of the weighted losses through the encoders follows.

    Args:
        model: the engine.
        at: `"parameters"`, `"representation"`, or names of layers.
        window: whether an update has the gradients of several batches, so that those of each task are kept.

    Raises:
        ValueError: the tasks share nothing at `at`, or the balancer needs the gradients of all parameters.
    """

    def __init__(self, model: TrainableModel, at: str | Sequence[str] = "parameters", window: bool = False):
        self.model, self.at, self.window = model, at, window
        balancer = model.balancer
        #: Whether the balancer combines gradients; else losses.
        self.compares = balancer.needs != "losses" and len(model.task_names) > 1
        dependencies = dependencies_of(model)
        if adding := layers_with_losses(model):
            raise ValueError(
                f"Gradients are those of the tasks' losses; the layers {adding} add losses of their own (add_loss, an activity "
                "regularizer), which are no task's. Leave them out, or balance losses, as UncertaintyWeighting does"
                f"{', without gradient_accumulation_steps' * window}."
            )
        trained = {id(v) for v in model.trainable_variables}
        common = common_to_tasks(dependencies.variables)
        self.shared = [v for v in common if id(v) in trained]
        several = {id(v) for v in common}
        self.task_specific = {
            task: [v for v in variables if id(v) in trained - several] for task, variables in dependencies.variables.items()
        }
        # Gradients that are compared on one replica, and not kept, may have any length.
        sparse = (balancer.needs == "gramian" and balancer.batches == 1) or (window and not self.compares)
        sparse &= model.distribute_strategy.num_replicas_in_sync == 1 and not model.static_shapes
        sparse &= not (window and at == "representation" and self.compares)
        self.gradients = GradientsByRows(model, dependencies, self.shared, self.task_specific, sparse)
        #: Size of each shared variable, and whether it is trained: a balancer's state may cover variables that are frozen now.
        self._sizes = [(math.prod(v.shape), id(v) in trained) for v in common if id(v) in trained or balancer.tracks_gradients]
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
        """Return the update of a batch, of which each replica holds its rows."""
        return self.combine(self.measure(data))

    def measure(self, data: Any, before: tf.Tensor | float = 0.0) -> Measured:
        """Return the tasks' gradients of a batch, of which each replica holds its rows.

        Args:
            data: the replica's rows.
            before: number of labelled rows that each task had earlier in the window, `[K]`.
        """
        model = self.model
        batch, scale = Batch.of(model, data), self.scale()
        parts = [batch] if model.balancer.batches == 1 else _halves(batch, model.task_names, before)
        sizes = sum_over_replicas([self._weight_sums(part) for part in parts])
        halves = [self._gradients_of(part, scale, size) for part, size in zip(parts, sizes, strict=True)]
        added, of_penalty = (penalty(model), {}) if self.window else self.penalty(scale)
        scores = joined(model, [half.scores for half in halves])
        totals = total(model, batch, scores, added)
        specific = halves[0].task_specific
        if len(parts) > 1:
            shares = tf.unstack(tf.math.divide_no_nan(tf.stack(sizes), tf.add_n(sizes)), axis=1)
            for share, task in zip(shares, model.task_names, strict=True):
                pairs = zip(*(half.task_specific.get(task, []) for half in halves), strict=True)
                specific[task] = [share[0] * first + share[1] * second for first, second in pairs]
        compared, shared = [half.compared for half in halves], [half.shared for half in halves]
        gramian = self._gramian(compared[0], compared[0]) if self.at == "representation" and self.compares else None
        return Measured(compared, shared, specific, sizes, totals, halves[0].update, gramian, of_penalty)

    def combine(self, measured: Measured) -> Step:
        """Return the update that the balancer makes of measured gradients."""
        model, scale = self.model, self.scale()
        sizes, totals = measured.weight_sums, measured.totals
        size = tf.add_n(sizes)
        # Losses were divided by the sums of their rows' weights; the heads' normalization is known only now.
        counted = tf.math.divide_no_nan(size, totals.weights)
        losses, active = totals.means, totals.active
        heads, of_balancer = self._combination(losses, active, scale)
        if self.compares:
            update, conflicts = self._balanced(measured, size, counted, scale)
        else:
            update, conflicts = measured.update(heads * counted), None
        gradients = {id(v): gradient for v, gradient in zip(self.shared, update, strict=True) if gradient is not None}
        for i, task in enumerate(model.task_names):
            pairs = zip(self.task_specific[task], measured.task_specific.get(task, ()), strict=False)
            gradients |= {id(variable): heads[i] * counted[i] * gradient for variable, gradient in pairs}
        gradients |= of_balancer
        for key, gradient in measured.of_penalty.items():
            gradients[key] = gradients[key] + gradient if key in gradients else gradient
        return Step([gradients.get(id(v)) for v in model.trainable_variables], totals, conflicts)

    def _balanced(self, measured: Measured, size: tf.Tensor, counted: tf.Tensor, scale: tf.Tensor) -> tuple[list[Any], Any]:
        """Return the balancer's update of the shared variables, and the conflicts."""
        balancer, sizes = self.model.balancer, measured.weight_sums
        losses, active = measured.totals.means, measured.totals.active
        unit = counted / scale
        rows = measured.compared[0]
        if len(sizes) > 1:
            shares = [tf.math.divide_no_nan(half, size) for half in sizes]
            pairs = zip(*measured.compared, strict=True)
            rows = [tf.add_n([share[:, None] * row for share, row in zip(shares, pair, strict=True)]) for pair in pairs]
        gramian = self._gramian(rows, rows) if measured.gramian is None else measured.gramian
        gramian = gramian * unit[:, None] * unit
        if balancer.needs == "gramian":
            estimate = gramian
            if len(sizes) > 1:  # For a task with rows in one half only, the whole batch is used.
                both = tf.reduce_all(tf.stack(sizes) > 0, axis=0)
                crossed = self._gramian(*measured.compared) * unit[:, None] * unit
                estimate = tf.where(both[:, None] & both, crossed, gramian)
            weights = balancer.weights(estimate, active, losses)
            slopes = tf.linalg.matvec(gramian, weights)
            squared_norm = tf.tensordot(weights, slopes, 1)
            update_by = measured.update if len(sizes) == 1 else weighted_update(self.shared, rows)
            return update_by(weights * counted), (gramian, slopes, squared_norm)
        jacobian = self._with_frozen(rows) * unit[:, None]
        direction = balancer.aggregate(jacobian, active, losses)
        slopes, squared_norm = tf.linalg.matvec(jacobian, direction), tf.tensordot(direction, direction, 1)
        pieces = tf.split(direction * scale, [numbers for numbers, _ in self._sizes])
        of_trained = [piece for piece, (_, trained) in zip(pieces, self._sizes, strict=True) if trained]
        update = [tf.reshape(piece, v.shape) for piece, v in zip(of_trained, self.shared, strict=True)]
        return update, (gramian, slopes, squared_norm)

    def scale(self) -> tf.Tensor:
        """The factor by which the optimizer scales losses, a float32 scalar."""
        return tf.cast(self.model.optimizer.scale_loss(tf.constant(1.0)), tf.float32)

    def jacobian(self, data: Any) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor]:
        """Return the tasks' gradients of each shared variable, `[K, n]`, without dropout; and the results of `losses`."""
        batch = Batch.of(self.model, data)
        (size,) = sum_over_replicas([self._weight_sums(batch)])
        gradients = self.gradients.compute(batch, _loss_seeds(self.model, tf.constant(1.0), size), False)
        totals = total(self.model, batch, gradients.scores, tf.constant(0.0))
        counted = tf.math.divide_no_nan(size, totals.weights)
        count = len(self.model.task_names)
        pairs = zip(gradients.shared, self.shared, strict=True)
        rows = [entry.dense(count, v.shape[0]) if isinstance(entry, RowGradients) else entry for entry, v in pairs]
        return [counted[:, None] * row for row in sum_gradients(rows)], totals.means, totals.active

    def losses(self, data: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the tasks' losses `[K]`, without dropout, and whether each has a labelled row, bool `[K]`."""
        batch = Batch.of(self.model, data)
        totals = total(self.model, batch, score(self.model, batch, False), tf.constant(0.0))
        return totals.means, totals.active

    def _with_frozen(self, rows: Sequence[tf.Tensor]) -> tf.Tensor:
        """Return the tasks' gradients concatenated, `[K, P]`, with 0 for frozen variables."""
        remaining, count = iter(rows), len(self.model.task_names)
        return tf.concat([next(remaining) if trained else tf.zeros([count, numbers]) for numbers, trained in self._sizes], axis=1)

    def _weight_sums(self, batch: Batch) -> tf.Tensor:
        """Return the sums of the tasks' weights on this replica, `[K]`."""
        return tf.stack([tf.reduce_sum(batch.weights.get(task, 0.0)) for task in self.model.task_names])

    def _gradients_of(self, batch: Batch, scale: tf.Tensor, size: tf.Tensor) -> BatchGradients:
        seeds = _loss_seeds(self.model, scale, size)
        at_parameters = self.at == "parameters" or (self.window and self.compared) or not self.compares
        return self._at_parameters(batch, seeds) if at_parameters else self._at_features(batch, seeds)

    def _combination(self, losses: tf.Tensor, active: tf.Tensor, scale: tf.Tensor) -> tuple[tf.Tensor, dict[int, tf.Tensor]]:
        """Return the losses' weights for the heads, `[K]`, and the gradients of the balancer's variables."""
        learned = self.model.balancer.state.trainable_variables
        with tf.GradientTape() as tape:
            tape.watch(losses)
            combined = self.model.balancer.combine(losses, active)
        sources = [losses, *(v.value for v in learned)]
        heads, *gradients = tape.gradient(combined, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return heads, {id(v): gradient * scale for v, gradient in zip(learned, gradients, strict=True)}

    def penalty(self, scale: tf.Tensor) -> tuple[tf.Tensor, dict[int, tf.Tensor]]:
        """Return this replica's part of the penalty, and the gradients of the whole penalty."""
        variables = self.model.trainable_variables
        with tf.GradientTape() as tape:
            added = penalty(self.model)
        gradients = tape.gradient(added, [v.value for v in variables])
        factor, pairs = replicas() * scale, zip(variables, gradients, strict=True)
        return added, {id(v): factor * tf.convert_to_tensor(g) for v, g in pairs if g is not None}

    def _gramian(self, rows: Sequence[tf.Tensor], others: Sequence[tf.Tensor]) -> tf.Tensor:
        gramian = tf.add_n([tf.matmul(a, b, transpose_b=True) for a, b in zip(rows, others, strict=True)])
        return sum_over_replicas([gramian])[0] if self.at == "representation" else gramian

    def compared_gradients(self, shared: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Return the gradients that are compared, given those of the shared variables."""
        compared = {id(v) for v in self.compared or self.shared}
        return [row for row, v in zip(shared, self.shared, strict=True) if id(v) in compared]

    # Places of comparison ----------------------------------------------------------------------------------------

    def _at_parameters(self, batch: Batch, seeds: Mapping[str, tf.Tensor]) -> BatchGradients:
        """Return the gradients at all shared variables."""
        scores, shared, task_specific = self.gradients.compute(batch, seeds, True)
        count = len(self.model.task_names)
        pairs = zip(shared, self.shared, strict=True)
        parts = [entry.compact(count, v.shape[0]) if isinstance(entry, RowGradients) else (entry, None) for entry, v in pairs]
        rows, taken = sum_gradients([row for row, _ in parts]), [taken for _, taken in parts]
        kept = list(zip(rows, taken, strict=True)) if self.window else []
        update = weighted_update(self.shared, rows, taken)
        return BatchGradients(scores, rows, _over_replicas(task_specific), update, kept)

    def _at_features(self, batch: Batch, seeds: Mapping[str, tf.Tensor]) -> BatchGradients:
        """Return the gradients at features, or at some variables."""
        tasks = list(batch.y)
        with tf.GradientTape(persistent=True) as tape:
            trunk = self.model.trunk(batch.x, True)
            scores = score(self.model, batch, True, trunk)
        points = [v.value for v in self.compared] or _shared_features(tape, trunk)
        compared: ByTask = {}
        of_shared: ByTask = {}
        task_specific: ByTask = {}
        shared = [v.value for v in self.shared] if self.window else []
        first, last = len(points), len(points) + len(shared)
        for task in tasks:
            sources = [*points, *shared, *(v.value for v in self.task_specific[task])]
            gradients = dense_gradients(tape, scores.losses[task], sources, seeds[task])
            compared[task], of_shared[task], task_specific[task] = gradients[:first], gradients[first:last], gradients[last:]
        rows = self._rows(compared, points)
        if self.compared:
            rows = sum_gradients(rows)

        def update(weights: tf.Tensor) -> list[Any]:
            weight_of = dict(zip(self.model.task_names, tf.unstack(weights), strict=True))
            losses, weighted = [scores.losses[task] for task in tasks], [weight_of[task] * seeds[task] for task in tasks]
            return sum_gradients(tape.gradient(losses, [v.value for v in self.shared], output_gradients=weighted))

        kept = [(row, None) for row in sum_gradients(self._rows(of_shared, shared))]
        return BatchGradients(scores, rows, _over_replicas(task_specific), update, kept)

    def _rows(self, gradients: ByTask, points: Sequence[Any]) -> list[tf.Tensor]:
        """Return the tasks' gradients at each point, `[K, n]`, with zeros for a task without targets."""
        rows = []
        for i, point in enumerate(points):
            flat = {task: tf.reshape(tf.cast(of_task[i], tf.float32), [-1]) for task, of_task in gradients.items()}
            zero = None if len(flat) == len(self.model.task_names) else tf.zeros([tf.size(point)])
            rows.append(tf.stack([flat.get(task, zero) for task in self.model.task_names]))
        return rows


def _loss_seeds(model: TrainableModel, scale: tf.Tensor, size: tf.Tensor) -> dict[str, tf.Tensor]:
    """Return task -> the factor that turns its sum of losses into a mean."""
    return dict(zip(model.task_names, tf.unstack(tf.math.divide_no_nan(scale, size)), strict=True))


def _over_replicas(gradients: ByTask) -> ByTask:
    """Return the sums over the replicas."""
    return keras.tree.pack_sequence_as(gradients, sum_gradients(keras.tree.flatten(gradients)))


def _shared_features(tape: tf.GradientTape, shared: Mapping[str, Any]) -> list[tf.Tensor]:
    """Return the features of the trunk that all tasks get, without those that are computed from others."""
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
    derived = [any(tape.gradient(value, other) is not None for other in values if other is not value) for value in values]
    return [value for value, is_derived in zip(values, derived, strict=True) if not is_derived]


def _halves(batch: Batch, tasks: Sequence[str], earlier: tf.Tensor | float) -> list[Batch]:
    """Return two batches with each task's labelled rows alternately; `earlier` counts the previous rows of the window, `[K]`."""
    labelled = {task: tf.cast(mask, tf.float32) for task, mask in batch.labelled().items()}
    before = sum_before(tf.stack([tf.reduce_sum(mask) for mask in labelled.values()]))
    before += tf.gather(tf.zeros([len(tasks)]) + earlier, [list(tasks).index(task) for task in labelled])
    halves = []
    for half in (0.0, 1.0):
        weights = {}
        for i, (task, weight) in enumerate(batch.weights.items()):
            position = before[i] + tf.cumsum(labelled[task], exclusive=True)
            in_half = tf.cast(tf.equal(position % 2.0, half), tf.float32)
            weights[task] = weight * tf.reshape(in_half, [-1, *[1] * (weight.shape.rank - 1)])
        halves.append(batch._replace(weights=weights))
    return halves
