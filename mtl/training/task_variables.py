"""Variables of some tasks, restored after a step without rows of these tasks."""

from collections.abc import Iterable

import keras
import tensorflow as tf

from mtl.training.keras_internals.optimizer_internals import optimizers_in, state_of, trained_by

__all__ = ["TaskVariables", "slots_of"]


def slots_of(optimizer: keras.optimizers.Optimizer, variables: Iterable[keras.Variable]) -> list[keras.Variable]:
    """Return the optimizer's variables (momentum, averages, ...) that belong to some of the variables it trains.

    An optimizer keeps them in lists, or dicts by path, with one entry per trained variable.
    """
    wanted = {id(variable) for variable in variables}
    slots: dict[int, keras.Variable] = {}
    for inner in _built(optimizer):
        trained = trained_by(inner)
        chosen = [i for i, variable in enumerate(trained) if id(variable) in wanted]
        for value in state_of(inner):
            if isinstance(value, (list, tuple)) and len(value) == len(trained):
                slots_found = [value[i] for i in chosen]
            elif isinstance(value, dict):
                slots_found = [value.get(trained[i].path) for i in chosen]
            else:
                continue
            slots.update((id(slot), slot) for slot in tf.nest.flatten(slots_found) if isinstance(slot, keras.Variable))
    return [slot for key, slot in slots.items() if key not in wanted]


def _built(optimizer: keras.optimizers.Optimizer) -> list[keras.optimizers.Optimizer]:
    """Return the optimizers inside a wrapper that have variables to train, or the optimizer itself."""
    return [inner for inner in optimizers_in(optimizer) if inner.built]


class TaskVariables:
    """Variables that only some tasks use, and their slots in the optimizer.

    Momentum and weight decay change a variable whose gradient is zero. If none of the tasks has a labelled row in a step, the
    values before the step are restored after it. This is the same on every replica and needs no condition around the optimizer;
    each replica restores its own copy. A step with rows of one of the tasks neither keeps nor copies values.

    Args:
        optimizer: a built optimizer.
        variables: the tasks' variables; those that are not trained are left out.
        compiled: whether XLA compiles the step. Shapes are then the same in both cases, so all values are kept.
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer, variables: Iterable[keras.Variable], compiled: bool = False):
        trained = {id(variable) for inner in _built(optimizer) for variable in trained_by(inner)}
        chosen = [variable for variable in variables if id(variable) in trained]
        self.variables = chosen + slots_of(optimizer, chosen)
        self.compiled = compiled

    def read(self, active: tf.Tensor) -> list[tf.Tensor]:
        """Return the values now; empty tensors where a task is active."""

        def nothing() -> list[tf.Tensor]:
            return [tf.zeros([0] * len(variable.shape), variable.dtype) for variable in self.variables]

        return self.values() if self.compiled or not self.variables else tf.cond(active, nothing, self.values)

    def values(self) -> list[tf.Tensor]:
        """Return the values now."""
        return [tf.identity(variable.value) for variable in self.variables]

    def restore(self, before: list[tf.Tensor], active: tf.Tensor) -> None:
        """Restore the values unless a task was active."""

        def assign_all() -> tf.Tensor:
            for variable, value in zip(self.variables, before, strict=True):
                variable.assign(tf.ensure_shape(value, variable.shape))
            return tf.constant(True)

        if self.compiled:
            for variable, value in zip(self.variables, before, strict=True):
                variable.assign(tf.where(active, variable.value, value))
        elif self.variables:
            tf.cond(active, lambda: tf.constant(False), assign_all)
