"""Base class of the balancers."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal, Self

import keras
import numpy as np
import tensorflow as tf

from mtl.balancing.solvers.gramian import Gramian, gramian_of
from mtl.utils import unknown_name
from mtl.utils.arguments import checked, constructor_arguments

__all__ = ["Balancer", "State"]


class State(keras.layers.Layer):
    """Layer that holds the variables of a balancer, so that a model saves them and trains the trainable ones."""

    def __init__(self) -> None:
        super().__init__(name="balancer", dtype="float32", autocast=False)
        self.built = True

    def add(
        self, name: str, shape: Sequence[int] = (), value: float = 0.0, dtype: str = "float32", trainable: bool = False
    ) -> Any:
        """Create a variable with the same value on every replica."""
        variable = self.add_weight(
            name=name,
            shape=tuple(shape),
            initializer=keras.initializers.Constant(value),
            dtype=dtype,
            trainable=trainable,
            autocast=False,
            aggregation="none" if trainable else "only_first_replica",
        )
        setattr(self, f"{name}_variable", variable)  # tf.train.Checkpoint follows attributes.
        return variable


class Balancer:
    """Base class of methods that combine task losses or task gradients into one update.

    `needs` tells which of two kinds a method is. A method on losses implements `combine`, which returns one loss. A method on
    gradients implements `aggregate`, which returns one direction, `d = J^T w`; `weights` suffices where `w` depends on
    `G = J J^T` only. For methods on gradients, `combine` returns the loss that is logged and that trains the heads: the sum of
    the losses, or in `IMTL` the sum of the scaled losses.

    `active` marks the tasks that have a labelled row in the step. The others are left out; their weight is 0. Small problems
    are solved in float64, inside the graph. Non-finite input gives NaN and leaves the state unchanged.

    A subclass implements `_combine`, `_solve` or `_mix`, stores its constructor's arguments as attributes of the same names,
    and creates its variables in `_make_state`.
    """

    #: Input of the method: the losses, the Gramian of the gradients, or the gradients themselves.
    needs: Literal["losses", "gramian", "jacobian"] = "losses"
    #: Whether `weights` and `aggregate` need the losses too.
    uses_losses: bool = False
    #: Whether the state holds one row per task with the size of a gradient, so that `bind` needs `size`.
    tracks_gradients: bool = False
    #: Whether `after_step` needs the losses of the same batch after the update.
    looks_ahead: bool = False
    #: Whether `after_epoch` must be called.
    counts_epochs: bool = False
    #: Whether `observe` needs the tasks' metrics.
    uses_metrics: bool = False
    #: Number of independent batches from which the gradients of a step come.
    batches: int = 1
    #: Names of the arguments that are dicts by task.
    by_task: tuple[str, ...] = ()

    tasks: tuple[str, ...] = ()
    size: int | None = None
    state: Any = None
    _named = False
    _valid: Any = True

    @checked
    def __init__(self) -> None:
        """Create a balancer without arguments."""

    # Tasks and state ----------------------------------------------------------------------------------------------

    def bind(self, tasks: Sequence[str], size: int | None = None) -> None:
        """Set the tasks, in the order of the losses and gradients, and create the variables in `state`.

        `MultiTaskModel` calls it. Without it, a balancer binds itself to the first losses or gradients that it receives. A
        second call with the same tasks changes nothing; with other tasks the state starts anew.

        Args:
            tasks: the names of the K tasks.
            size: P, the length of a gradient; only methods that track gradients need it.

        Raises:
            ValueError: the balancer names a task that does not exist.
        """
        if self._named and self.tasks == tuple(tasks) and size in (None, self.size):
            return
        self._connect(tuple(tasks), size)
        self._named = True

    def _connect(self, tasks: tuple[str, ...], size: int | None) -> None:
        config = self.get_config() if self.by_task else {}
        for argument in self.by_task:
            for task in config[argument] or {}:
                if task not in tasks:
                    raise unknown_name(f"task in the balancer's {argument}", task, tasks)
        self.tasks, self.size = tasks, size
        if self.needs != "losses" or self.looks_ahead:
            _keep_order()
        with tf.init_scope():
            self.state = State()
            self._shown = self.state.add("shown_weights", [len(tasks)])
            if not self.tracks_gradients or size is not None:
                self._make_state(len(tasks))

    def _make_state(self, count: int) -> None:
        """Create the variables for `count` tasks with `self.state.add`."""

    def task_variables(self, task: str) -> list[Any]:
        """Return the trained variables that belong to one task alone; they stay unchanged while the task is not active."""
        return []

    def subset(self, tasks: Sequence[str]) -> "Balancer":
        """Return a new balancer of the same class for some of the tasks, with a new state."""
        config = self.get_config()
        for argument in self.by_task:
            config[argument] = {task: value for task, value in (config[argument] or {}).items() if task in tasks}
        return type(self).from_config(config)

    @property
    def bound(self) -> bool:
        """Whether `bind` has been called."""
        return self._named

    # The two kinds ------------------------------------------------------------------------------------------------

    def combine(self, losses: Any, active: Any = None, training: bool = True) -> Any:
        """Return one scalar from the losses of the tasks.

        Args:
            losses: float `[K]`; entries of tasks that are not active are ignored.
            active: bool `[K]`; False for a task without a labelled row; None for all True.
            training: whether this is a training step, which updates the balancer's state, or evaluation.
        """
        losses = _float(losses, 1, "losses")
        active = self._begin(losses, active)
        losses = tf.where(active, losses, tf.zeros_like(losses))
        self._valid = tf.reduce_all(tf.math.is_finite(losses))
        return self._combine(losses, active, training)

    def weights(self, gramian: Any, active: Any = None, losses: Any = None) -> Any:
        """Return the weight of each task's gradient in the update, for methods that need only the Gramian.

        Args:
            gramian: float `[K, K]`, the products of the gradients, `J J^T`.
            active: bool `[K]`; None for all True.
            losses: float `[K]`, for methods with `uses_losses`.

        Returns:
            float `[K]`, 0 for a task that is not active.

        Raises:
            ValueError: the method needs the losses or the gradients instead.
        """
        if self.needs != "gramian":
            face = "combine(losses)" if self.needs == "losses" else "aggregate(jacobian)"
            raise ValueError(f"{type(self).__name__} finds no weights from a Gramian; call {face}.")
        gramian = _float(gramian, 2, "a Gramian")
        if gramian.shape[0] != gramian.shape[1]:
            raise ValueError(f"A balancer expects a Gramian of shape [K, K]; got {gramian.shape}.")
        active = self._begin(gramian, active)
        problem, finite = Gramian.of(gramian, active)
        losses = self._losses(losses, active)
        self._valid = finite if losses is None else finite & tf.reduce_all(tf.math.is_finite(losses))
        weights = self._solve(problem, losses)
        weights = tf.where(active, weights, tf.zeros_like(weights))
        self._show(weights, active)
        return tf.cast(tf.where(self._valid, weights, tf.fill(tf.shape(weights), _nan(weights))), gramian.dtype)

    def aggregate(self, jacobian: Any, active: Any = None, losses: Any = None) -> Any:
        """Return the direction of the update, to be subtracted from the parameters.

        Args:
            jacobian: float `[K, P]`, the tasks' gradients; `[2, K, P]` for a method with two `batches`.
            active: bool `[K]`; None for all True.
            losses: float `[K]`, for methods with `uses_losses`.

        Returns:
            float `[P]`.

        Raises:
            ValueError: the method balances losses; call `combine` instead.
        """
        if self.needs == "losses":
            raise ValueError(f"{type(self).__name__} balances losses, not gradients; call combine(losses).")
        if self.batches == 2 and len(tf.convert_to_tensor(jacobian).shape) == 3:
            both = _float(jacobian, 3, "gradients of two batches")
            active = self._begin(both[0], active)
            both = tf.where(active[:, None], both, tf.zeros_like(both))
            weights = self.weights(tf.matmul(both[0], both[1], transpose_b=True), active, losses)
            return tf.linalg.matvec(tf.reduce_mean(both, axis=0), weights, transpose_a=True)
        jacobian = _float(jacobian, 2, "gradients")
        active = self._begin(jacobian, active)
        jacobian = tf.where(active[:, None], jacobian, tf.zeros_like(jacobian))
        if self.needs == "gramian":
            weights = self.weights(gramian_of(jacobian), active, losses)
            return tf.linalg.matvec(jacobian, weights, transpose_a=True)
        losses = self._losses(losses, active)
        self._valid = tf.reduce_all(tf.math.is_finite(tf.reduce_sum(jacobian**2, axis=1)))  # Then their products are finite too.
        if losses is not None:
            self._valid &= tf.reduce_all(tf.math.is_finite(losses))
        weights, rows = self._mix(jacobian, active, losses)
        weights = tf.where(active, tf.cast(weights, jacobian.dtype), tf.zeros_like(jacobian[:, 0]))
        self._show(weights, active)
        direction = tf.linalg.matvec(rows, weights, transpose_a=True)
        return tf.where(self._valid, direction, tf.fill(tf.shape(direction), _nan(direction)))

    # Between steps and epochs --------------------------------------------------------------------------------------

    def after_step(self, losses: Any, active: Any = None) -> None:
        """Pass a method with `looks_ahead` the losses `[K]` of the same batch after the update."""

    def after_epoch(self) -> None:
        """Update the state at the end of an epoch of training."""

    def observe(self, metrics: Any, active: Any = None) -> None:
        """Pass a method with `uses_metrics` each task's metric, `[K]`, between 0 and 1; larger is better."""

    def current_weights(self) -> dict[str, float]:
        """Return task -> the weight of its loss or gradient in its last active step; empty before the first step."""
        if self.state is None:
            return {}
        shown = keras.ops.convert_to_numpy(self._shown).tolist()
        return dict(zip(self.tasks, shown, strict=True)) if any(shown) else {}

    # Configuration ------------------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return constructor_arguments(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Create a balancer from the result of `get_config`."""
        return cls(**config)

    # For subclasses -----------------------------------------------------------------------------------------------

    def _combine(self, losses: Any, active: Any, training: bool) -> Any:
        """Implement `combine` for losses that are 0 where not active."""
        if self.needs == "losses":
            raise NotImplementedError(f"{type(self).__name__} does not say how it combines losses.")
        return tf.reduce_sum(losses)

    def _solve(self, gramian: Gramian, losses: Any) -> Any:
        """Implement `weights`, float64 `[K]`; entries of tasks that are not active are ignored. `losses` are float64 too."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it weights gradients.")

    def _mix(self, jacobian: Any, active: Any, losses: Any) -> tuple[Any, Any]:
        """Return weights `[K]` and the rows `[K, P]` that they weight, from gradients that are 0 where not active."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it mixes gradients.")

    def _keep(self, variable: Any, value: Any) -> None:
        """Assign a variable, unless the losses or gradients of the step are not finite."""
        value = tf.cast(value, variable.dtype)
        variable.assign(tf.where(self._valid, value, tf.convert_to_tensor(variable)))

    def _show(self, weights: Any, active: Any) -> None:
        """Store weights for `current_weights`."""
        weights = tf.cast(tf.stop_gradient(weights), tf.float32)
        self._keep(self._shown, tf.where(active, weights, tf.convert_to_tensor(self._shown)))

    def _begin(self, value: Any, active: Any) -> Any:
        """Bind a balancer whose `bind` was not called, and return `active` as a tensor."""
        count = value.shape[0] if value.shape[0] is not None else len(self.tasks) or None
        if not count:
            raise ValueError(
                f"{type(self).__name__} must know the number of tasks, 1 or more, when traced; got shape {value.shape}."
            )
        tracked = value.shape[1] if self.tracks_gradients and self.needs == "jacobian" and value.shape.rank == 2 else None
        if self._named:
            if count != len(self.tasks):
                raise ValueError(f"{type(self).__name__} balances the {len(self.tasks)} tasks {list(self.tasks)}; got {count}.")
            if tracked and self.size is None:
                self._connect(self.tasks, tracked)
        elif len(self.tasks) != count or (tracked and self.size is None):
            self._connect(tuple(str(i) for i in range(count)), tracked)
        if tracked and tracked != self.size:
            raise ValueError(f"{type(self).__name__} tracks gradients of length {self.size}; got {tracked}. Connect it anew.")
        return tf.fill([count], True) if active is None else self._one_each(tf.cast(active, tf.bool), "active")

    def _one_each(self, value: Any, what: str) -> Any:
        """Return a tensor after checking that it has one value per task."""
        if not value.shape.is_compatible_with([len(self.tasks)]):
            raise ValueError(f"{type(self).__name__} expects {what} of shape [{len(self.tasks)}], one a task; got {value.shape}.")
        return tf.ensure_shape(value, [len(self.tasks)])

    def _losses(self, losses: Any, active: Any) -> Any:
        if not self.uses_losses:
            return None
        if losses is None:
            raise ValueError(f"{type(self).__name__} weighs gradients by the tasks' losses as well; give losses=.")
        losses = tf.cast(tf.stop_gradient(self._one_each(_float(losses, 1, "losses"), "losses")), tf.float64)
        return tf.where(active, losses, tf.zeros_like(losses))


def check_range(balancer: Balancer, name: str, value: float, low: float, high: float = float("inf"), open: str = "") -> float:
    """Return a finite float from `low` to `high`, or raise; `open` contains `(` to exclude `low` and `)` to exclude `high`."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise ValueError(f"{type(balancer).__name__} expects `{name}` as a number; got {value!r}.")
    value = float(value)
    above = value > low if "(" in open else value >= low
    below = value < high if ")" in open or high == float("inf") else value <= high
    if not (above and below):
        left, right = "(" if "(" in open else "[", ")" if ")" in open or high == float("inf") else "]"
        raise ValueError(f"{type(balancer).__name__} expects `{name}` in {left}{low:g}, {high:g}{right}; got {value:g}.")
    return value


def check_whole(balancer: Balancer, name: str, value: int, low: int = 0) -> int:
    """Return an integer from `low` to the largest int32, or raise."""
    number = check_range(balancer, name, value, low, 2**31 - 1)
    if number != int(number):
        raise ValueError(f"{type(balancer).__name__} expects `{name}` as a whole number; got {value!r}.")
    return int(number)


def values_by_task(tasks: Iterable[str], given: Any, default: float, dtype: Any) -> Any:
    """Return one number per task, `[K]`, from a dict by task."""
    return tf.constant([float((given or {}).get(task, default)) for task in tasks], dtype)


def _float(value: Any, rank: int, what: str) -> Any:
    tensor = tf.convert_to_tensor(value)
    if tensor.dtype not in (tf.float32, tf.float64):
        tensor = tf.cast(tensor, tf.float32)
    if tensor.shape.rank != rank:
        axes = {1: "[K]", 2: "[K, K]" if "Gramian" in what else "[K, P]", 3: "[2, K, P]"}[rank]
        raise ValueError(f"A balancer expects {what} of shape {axes}; got {tensor.shape}.")
    return tensor


def _nan(like: Any) -> Any:
    return tf.constant(float("nan"), like.dtype)


def _keep_order() -> None:
    """Make TensorFlow keep the order of variable reads and writes, in all functions of this process.

    Its dependency optimizer removes an ordering edge that seems implied by a path through a condition. The path enforces no
    order when it leads through the branch that is not taken: a variable was then read after an update that should follow.
    """
    tf.config.optimizer.set_experimental_options({"dependency_optimization": False})
