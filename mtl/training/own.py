"""Variables of one task, put back where the task took no part in a step."""

from collections.abc import Iterable

import keras
import tensorflow as tf

__all__ = ["OwnVariables", "slots_of"]


def slots_of(optimizer: keras.optimizers.Optimizer, variables: Iterable[keras.Variable]) -> list[keras.Variable]:
    """The optimizer's own variables (momentum, averages, ...) that belong to some of the variables it trains.

    An optimizer keeps them in lists, or dicts by path, with an entry a trained variable.
    """
    wanted = {id(variable) for variable in variables}
    slots: dict[int, keras.Variable] = {}
    for each in _single(optimizer):
        trained = each._trainable_variables
        chosen = [i for i, variable in enumerate(trained) if id(variable) in wanted]
        for value in vars(each).values():
            if value is trained or value is each._variables:
                continue
            if isinstance(value, (list, tuple)) and len(value) == len(trained):
                found = [value[i] for i in chosen]
            elif isinstance(value, dict):
                found = [value.get(trained[i].path) for i in chosen]
            else:
                continue
            slots.update((id(slot), slot) for slot in tf.nest.flatten(found) if isinstance(slot, keras.Variable))
    return [slot for key, slot in slots.items() if key not in wanted]


def _single(optimizer: keras.optimizers.Optimizer) -> list[keras.optimizers.Optimizer]:
    """The optimizers inside a wrapper that have been built, or the optimizer itself."""
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return _single(optimizer.inner_optimizer)
    if isinstance(optimizer, keras.optimizers.MultiOptimizer):
        return [each for each in optimizer.optimizers if each.built]
    return [optimizer]


class OwnVariables:
    """What only one task uses: variables and their slots in the optimizer.

    Momentum and weight decay move a variable whose gradient is zero. For a task without a labelled row in the step, the
    values before the step are put back after it; this is the same on every replica and needs no branch around the optimizer.

    Args:
        optimizer: a built optimizer.
        variables: the task's variables; those that are not trained are left out.
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer, variables: Iterable[keras.Variable]):
        trained = {id(variable) for each in _single(optimizer) for variable in each._trainable_variables}
        mine = [variable for variable in variables if id(variable) in trained]
        self.variables = mine + slots_of(optimizer, mine)

    def read(self) -> list[tf.Tensor]:
        """The values now."""
        return [tf.identity(variable.value) for variable in self.variables]

    def restore(self, before: list[tf.Tensor], active: tf.Tensor) -> None:
        """Puts the values back unless the task was active."""
        for variable, value in zip(self.variables, before, strict=True):
            variable.assign(tf.where(active, variable.value, value))
