"""Which variables a task's loss depends on."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

__all__ = ["common_to_tasks", "reach", "shared_size"]

#: Operations that no gradient passes.
_BARRIERS = ("StopGradient", "PreventGradient")


def reach(model: Any) -> dict[str, list[keras.Variable]]:
    """Task -> the weights, trained or frozen, that its head, or what the head is given, is made of, in the model's order.

    Found in the graph of the model, which is traced for this alone and never run.

    Args:
        model: the engine.
    """
    inputs = {tensor.name: tf.TensorSpec([None] * len(tensor.shape), tensor.dtype) for tensor in model.inputs}

    def forward(x: dict[str, tf.Tensor]) -> list[tf.Tensor]:
        features = model.features_of(model.complete(x), model.task_names, training=True)
        outputs = {task: model.head_of(task)(features[task], training=True) for task in model.task_names}
        return [
            tf.add_n([tf.reduce_sum(tf.cast(each, tf.float32)) for each in keras.tree.flatten(outputs[task])])
            for task in model.task_names
        ]

    strategy = model.distribute_strategy
    with strategy.scope():
        traced = tf.function(forward, autograph=False).get_concrete_function(inputs)
    outer = {inner.op.name: id(given) for given, inner in traced.graph.captures}
    handles = {
        id(copy.handle): variable for variable in model.weights for copy in strategy.experimental_local_results(variable.value)
    }
    found = {}
    for task, output in zip(model.task_names, traced.outputs, strict=True):
        own = {id(variable) for layer in model.own_layers(task) for variable in layer.weights}
        own |= {id(handles[outer[name]]) for name in _behind(output) if outer.get(name) in handles}
        found[task] = [variable for variable in model.weights if id(variable) in own]
    return found


def _behind(output: tf.Tensor) -> set[str]:
    """The names of the operations that a tensor is made by, as far as gradients go."""
    seen: set[str] = set()
    ahead = [output.op]
    while ahead:
        operation = ahead.pop()
        if operation.name not in seen and operation.type not in _BARRIERS:
            seen.add(operation.name)
            ahead.extend(tensor.op for tensor in operation.inputs)
    return seen


def shared_size(model: Any) -> int:
    """How many weights two or more tasks reach, those that are frozen included: the length of the gradients to be tracked."""
    return sum(math.prod(v.shape) for v in common_to_tasks(reach(model)))


def common_to_tasks(reached: Mapping[str, Sequence[keras.Variable]]) -> list[keras.Variable]:
    """The weights that two or more tasks reach, of what `reach` gives."""
    count = Counter(id(v) for found in reached.values() for v in found)
    every = {id(v): v for found in reached.values() for v in found}
    return [v for key, v in every.items() if count[key] > 1]
