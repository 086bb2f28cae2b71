"""Variables of one task, put back where the task took no part in a step."""

from collections.abc import Iterable

import keras
import tensorflow as tf

from mtl.training.keras_internals.optimizer_internals import optimizers_in, state_of, trained_by

__all__ = ["TaskVariables", "slots_of"]


def slots_of(optimizer: keras.optimizers.Optimizer, variables: Iterable[keras.Variable]) -> list[keras.Variable]:
    """The optimizer's own variables (momentum, averages, ...) that belong to some of the variables it trains.

    An optimizer keeps them in lists, or dicts by path, with an entry a trained variable.
    """
    wanted = {id(variable) for variable in variables}
    slots: dict[int, keras.Variable] = {}
    for each in _built(optimizer):
        trained = trained_by(each)
        chosen = [i for i, variable in enumerate(trained) if id(variable) in wanted]
        for value in state_of(each):
            if isinstance(value, (list, tuple)) and len(value) == len(trained):
                found = [value[i] for i in chosen]
            elif isinstance(value, dict):
                found = [value.get(trained[i].path) for i in chosen]
            else:
                continue
            slots.update((id(slot), slot) for slot in tf.nest.flatten(found) if isinstance(slot, keras.Variable))
    return [slot for key, slot in slots.items() if key not in wanted]


def _built(optimizer: keras.optimizers.Optimizer) -> list[keras.optimizers.Optimizer]:
    """The optimizers inside a wrapper that have variables to train, or the optimizer itself."""
    return [each for each in optimizers_in(optimizer) if each.built]


class TaskVariables:
    """What only one task uses: variables and their slots in the optimizer.

    Momentum and weight decay move a variable whose gradient is zero. For a task without a labelled row in the step, the
    values before the step are put back after it; this is the same on every replica and needs no branch around the optimizer. A
    replica puts back its own copy. A step that has the task neither keeps nor copies anything, whatever the variables' size.

    Args:
        optimizer: a built optimizer.
        variables: the task's variables; those that are not trained are left out.
        compiled: whether XLA compiles the step. What it compiles has one shape in both cases, so all values are kept.
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer, variables: Iterable[keras.Variable], compiled: bool = False):
        trained = {id(variable) for each in _built(optimizer) for variable in trained_by(each)}
        mine = [variable for variable in variables if id(variable) in trained]
        self.variables = mine + slots_of(optimizer, mine)
        self.compiled = compiled

    def read(self, active: tf.Tensor) -> list[tf.Tensor]:
        """The values now; empty ones where the task is active."""

        def nothing() -> list[tf.Tensor]:
            return [tf.zeros([0] * len(variable.shape), variable.dtype) for variable in self.variables]

        return self.values() if self.compiled or not self.variables else tf.cond(active, nothing, self.values)

    def values(self) -> list[tf.Tensor]:
        """The values now."""
        return [tf.identity(variable.value) for variable in self.variables]

    def restore(self, before: list[tf.Tensor], active: tf.Tensor) -> None:
        """Puts the values back unless the task was active."""

        def put_back() -> tf.Tensor:
            for variable, value in zip(self.variables, before, strict=True):
                variable.assign(tf.ensure_shape(value, variable.shape))
            return tf.constant(True)

        if self.compiled:
            for variable, value in zip(self.variables, before, strict=True):
                variable.assign(tf.where(active, variable.value, value))
        elif self.variables:
            tf.cond(active, lambda: tf.constant(False), put_back)
