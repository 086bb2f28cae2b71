"""What every balancer is."""

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
    """The variables of a balancer, as a layer: what tracks it saves them, and trains those that are trainable."""

    def __init__(self) -> None:
        super().__init__(name="balancer", dtype="float32", autocast=False)
        self.built = True

    def add(
        self, name: str, shape: Sequence[int] = (), value: float = 0.0, dtype: str = "float32", trainable: bool = False
    ) -> Any:
        """A new variable, the same on every replica."""
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
    """How task losses, or task gradients, become one update.

    A method has one of two faces, and `needs` says which: `combine` makes one loss of the losses; `aggregate` makes one
    direction of the tasks' gradients, `d = J^T w`, for which `weights` is enough where `w` follows from `G = J J^T`. For the
    methods of the second face `combine` gives the loss that is shown, and that the heads are trained by: the plain sum, but
    that of the scaled losses in `IMTL`.

    `active` marks the tasks that have a labelled row in the step. The others are left out of the balance; their weight is 0.
    Small problems are solved in float64, inside the graph; what is not finite comes out as NaN and leaves the state alone.

    A subclass gives `_combine`, `_solve` or `_mix`, its constructor's arguments as attributes of the same names, and makes its
    variables in `_make_state`.
    """

    #: What the update is made of: the losses, the Gramian of the gradients, or the gradients themselves.
    needs: Literal["losses", "gramian", "jacobian"] = "losses"
    #: Whether `weights` and `aggregate` want the losses too.
    uses_losses: bool = False
    #: Whether the state holds a row a task as long as a gradient, so that `bind` must know its `size`.
    tracks_gradients: bool = False
    #: Whether `after_step` wants the losses of the same batch after the update.
    looks_ahead: bool = False
    #: Whether `after_epoch` is to be called.
    counts_epochs: bool = False
    #: Whether `observe` wants the tasks' metrics.
    uses_metrics: bool = False
    #: How many independent batches the gradients of a step come from.
    batches: int = 1
    #: The arguments that are dicts by task.
    by_task: tuple[str, ...] = ()

    tasks: tuple[str, ...] = ()
    size: int | None = None
    state: Any = None
    _named = False
    _valid: Any = True

    @checked
    def __init__(self) -> None:
        """Takes no arguments, where a subclass says nothing else."""

    # Tasks and state ----------------------------------------------------------------------------------------------

    def bind(self, tasks: Sequence[str], size: int | None = None) -> None:
        """Tells the balancer the tasks, in the order of the losses and gradients, and makes its variables, in `state`.

        `MultiTaskModel` calls it. Alone, a balancer connects itself to the first losses or gradients that it sees. Doing so
        again with the same tasks changes nothing; with others it starts anew.

        Args:
            tasks: the names of the K tasks.
            size: P, how long a gradient is; only methods that track gradients need it.

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
        """Makes the variables for `count` tasks by `self.state.add`."""

    def task_variables(self, task: str) -> list[Any]:
        """The trained variables that belong to one task alone; they stay as they are where the task is not active."""
        return []

    def subset(self, tasks: Sequence[str]) -> "Balancer":
        """A new balancer of the same kind for some of the tasks, with a state of its own."""
        config = self.get_config()
        for argument in self.by_task:
            config[argument] = {task: value for task, value in (config[argument] or {}).items() if task in tasks}
        return type(self).from_config(config)

    @property
    def bound(self) -> bool:
        """Whether a model, or its user, has told the balancer its tasks."""
        return self._named

    # The two faces ------------------------------------------------------------------------------------------------

    def combine(self, losses: Any, active: Any = None, training: bool = True) -> Any:
        """One scalar from the losses of the tasks.

        Args:
            losses: float `[K]`; what stands there for a task that is not active is ignored.
            active: bool `[K]`; False for a task without a labelled row; None for all True.
            training: whether this is a step of the training, which moves the balancer's state, or a figure to look at.
        """
        losses = _float(losses, 1, "losses")
        active = self._begin(losses, active)
        losses = tf.where(active, losses, tf.zeros_like(losses))
        self._valid = tf.reduce_all(tf.math.is_finite(losses))
        return self._combine(losses, active, training)

    def weights(self, gramian: Any, active: Any = None, losses: Any = None) -> Any:
        """What each task's gradient counts in the update, for methods that need no more than the Gramian.

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
        """The direction of the update, to be subtracted from the parameters.

        Args:
            jacobian: float `[K, P]`, the tasks' gradients; `[2, K, P]` for a method with two `batches`.
            active: bool `[K]`; None for all True.
            losses: float `[K]`, for methods with `uses_losses`.

        Returns:
            float `[P]`.

        Raises:
            ValueError: the method balances losses, so that `combine` is to be called.
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
        self._valid = tf.reduce_all(tf.math.is_finite(tf.reduce_sum(jacobian**2, axis=1)))  # Their products are, too.
        if losses is not None:
            self._valid &= tf.reduce_all(tf.math.is_finite(losses))
        weights, rows = self._mix(jacobian, active, losses)
        weights = tf.where(active, tf.cast(weights, jacobian.dtype), tf.zeros_like(jacobian[:, 0]))
        self._show(weights, active)
        direction = tf.linalg.matvec(rows, weights, transpose_a=True)
        return tf.where(self._valid, direction, tf.fill(tf.shape(direction), _nan(direction)))

    # What happens around a step -----------------------------------------------------------------------------------

    def after_step(self, losses: Any, active: Any = None) -> None:
        """Shows a method with `looks_ahead` the losses `[K]` of the same batch after the update."""

    def after_epoch(self) -> None:
        """Tells the balancer that an epoch of training has ended."""

    def observe(self, metrics: Any, active: Any = None) -> None:
        """Shows a method with `uses_metrics` each task's metric, `[K]`, between 0 and 1, more being better."""

    def current_weights(self) -> dict[str, float]:
        """Task -> what its loss or gradient counted last, where every task was active; empty before the first step."""
        if self.state is None:
            return {}
        shown = keras.ops.convert_to_numpy(self._shown).tolist()
        return dict(zip(self.tasks, shown, strict=True)) if any(shown) else {}

    # Configuration ------------------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return constructor_arguments(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The object from `get_config`."""
        return cls(**config)

    # For subclasses -----------------------------------------------------------------------------------------------

    def _combine(self, losses: Any, active: Any, training: bool) -> Any:
        """`combine`, of losses that are 0 where not active."""
        if self.needs == "losses":
            raise NotImplementedError(f"{type(self).__name__} does not say how it combines losses.")
        return tf.reduce_sum(losses)

    def _solve(self, gramian: Gramian, losses: Any) -> Any:
        """`weights`, float64 `[K]`; what stands there for a task that is not active is ignored. `losses` are float64 too."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it weights gradients.")

    def _mix(self, jacobian: Any, active: Any, losses: Any) -> tuple[Any, Any]:
        """Weights `[K]` and the rows `[K, P]` that they weight, from gradients that are 0 where not active."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it mixes gradients.")

    def _keep(self, variable: Any, value: Any) -> None:
        """Sets a variable, unless the losses or gradients of the step are not finite."""
        value = tf.cast(value, variable.dtype)
        variable.assign(tf.where(self._valid, value, tf.convert_to_tensor(variable)))

    def _show(self, weights: Any, active: Any) -> None:
        """Remembers weights for `current_weights`."""
        weights = tf.cast(tf.stop_gradient(weights), tf.float32)
        self._keep(self._shown, tf.where(active, weights, tf.convert_to_tensor(self._shown)))

    def _begin(self, value: Any, active: Any) -> Any:
        """Connects a balancer that stands alone; gives `active` as a tensor."""
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
        """A tensor with a value a task."""
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
    """A finite float from `low` to `high`, or an error; `open` holds `(` where `low` itself is left out, and `)` for `high`."""
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
    """A whole number from `low` to what 32 bits hold, or an error."""
    number = check_range(balancer, name, value, low, 2**31 - 1)
    if number != int(number):
        raise ValueError(f"{type(balancer).__name__} expects `{name}` as a whole number; got {value!r}.")
    return int(number)


def values_by_task(tasks: Iterable[str], given: Any, default: float, dtype: Any) -> Any:
    """A number a task, `[K]`, from a dict by task."""
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
    """Has TensorFlow keep the order of reading and writing variables, in all of this process's functions.

    Its dependency optimizer takes an order for granted that goes through a condition. It does not hold where the branch that is
    not taken is the one that waits: a variable was read after the update that was to follow.
    """
    tf.config.optimizer.set_experimental_options({"dependency_optimization": False})
