"""Which variables a task's loss depends on."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from mtl.training.protocols import TrainableModel

__all__ = ["Dependencies", "common_to_tasks", "dependencies_of", "shared_size"]

#: Operations that no gradient passes.
_BARRIERS = ("StopGradient", "PreventGradient")


class Dependencies(NamedTuple):
    """What a model's tasks depend on.

    Args:
        variables: task -> the weights, trained or frozen, that its head, or what the head is given, is made of, in the model's
            order.
        behind: the weights that the trunk's features are made of.
        looked_up: tables `[V, d]` behind those of which nothing but rows is ever taken, as of embeddings.
    """

    variables: dict[str, list[keras.Variable]]
    behind: list[keras.Variable]
    looked_up: list[keras.Variable]


def dependencies_of(model: TrainableModel) -> Dependencies:
    """What the tasks of a model depend on.

    Found in the graph of the model, which is traced for this alone and never run.

    Args:
        model: the engine.
    """
    inputs = {tensor.name: tf.TensorSpec([None] * len(tensor.shape), tensor.dtype) for tensor in model.inputs}
    shared: dict[str, Any] = {}

    def forward(x: dict[str, tf.Tensor]) -> list[tf.Tensor]:
        shared.update(model.trunk(model.complete(x), training=True))
        features = {task: model.branch(task, shared, training=True) for task in model.task_names}
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

    def reached(outputs: Iterable[tf.Tensor]) -> set[int]:
        return {id(handles[outer[name]]) for name in _behind(outputs) if outer.get(name) in handles}

    variables, parts = {}, [part for part in model.parts().values() if len(part.tasks) < len(model.task_names)]
    for task, output in zip(model.task_names, traced.outputs, strict=True):
        own = {id(weight) for part in parts if task in part.tasks for weight in part.layer.weights} | reached([output])
        variables[task] = [variable for variable in model.weights if id(variable) in own]
    behind = reached([tf.convert_to_tensor(value) for value in keras.tree.flatten(shared)])
    used = [(handles[id(given)], inner) for given, inner in traced.graph.captures if id(given) in handles]
    tables = {id(variable) for variable, inner in used if len(variable.shape) == 2 and _only_rows(inner)}
    made = [variable for variable in model.weights if id(variable) in behind]
    return Dependencies(variables, made, [variable for variable in made if id(variable) in tables])


def _behind(outputs: Iterable[tf.Tensor]) -> set[str]:
    """The names of the operations that tensors are made by, as far as gradients go."""
    seen: set[str] = set()
    ahead = [output.op for output in outputs]
    while ahead:
        operation = ahead.pop()
        if operation.name not in seen and operation.type not in _BARRIERS:
            seen.add(operation.name)
            ahead.extend(tensor.op for tensor in operation.inputs)
    return seen


def _only_rows(resource: tf.Tensor) -> bool:
    """Whether nothing but rows is taken of a variable in a graph, which is given the variable's handle."""
    reads = resource.consumers()
    uses = [use for read in reads for value in read.outputs for use in value.consumers()]
    return all(read.type == "ReadVariableOp" for read in reads) and all(
        use.type == "GatherV2" and use.get_attr("batch_dims") == 0 and tf.get_static_value(use.inputs[2]) == 0 for use in uses
    )


def shared_size(model: TrainableModel) -> int:
    """How many weights two or more tasks reach, those that are frozen included: the length of the gradients to be tracked."""
    return sum(math.prod(v.shape) for v in common_to_tasks(dependencies_of(model).variables))


def common_to_tasks(reached: Mapping[str, Sequence[keras.Variable]]) -> list[keras.Variable]:
    """The weights that two or more tasks reach."""
    count = Counter(id(v) for found in reached.values() for v in found)
    every = {id(v): v for found in reached.values() for v in found}
    return [v for key, v in every.items() if count[key] > 1]
