"""Variables that each task's loss depends on."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from mtl.training.protocols import TrainableModel

__all__ = ["Dependencies", "common_to_tasks", "dependencies_of", "shared_size"]

#: Operations that stop gradients.
_BARRIERS = ("StopGradient", "PreventGradient")


class Dependencies(NamedTuple):
    """Weights that a model's tasks depend on.

    Args:
        variables: task -> the weights, trained or frozen, that its head's output depends on, in the model's order.
        trunk: the weights that the trunk's outputs depend on.
        lookup_tables: the weights of `trunk` that are tables `[V, d]` of which only rows are read, such as embeddings.
    """

    variables: dict[str, list[keras.Variable]]
    trunk: list[keras.Variable]
    lookup_tables: list[keras.Variable]


def dependencies_of(model: TrainableModel) -> Dependencies:
    """Return the weights that the tasks of a model depend on.

    They are found in a graph of the model that is traced for this purpose only, and never run.

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
            tf.add_n([tf.reduce_sum(tf.cast(output, tf.float32)) for output in keras.tree.flatten(outputs[task])])
            for task in model.task_names
        ]

    strategy = model.distribute_strategy
    with strategy.scope():
        traced = tf.function(forward, autograph=False).get_concrete_function(inputs)
    captured = {inner.op.name: id(handle) for handle, inner in traced.graph.captures}
    handles = {
        id(copy.handle): variable for variable in model.weights for copy in strategy.experimental_local_results(variable.value)
    }

    def weights_of(outputs: Iterable[tf.Tensor]) -> set[int]:
        return {id(handles[captured[name]]) for name in _ancestors(outputs) if captured.get(name) in handles}

    variables, parts = {}, [part for part in model.parts().values() if len(part.tasks) < len(model.task_names)]
    for task, output in zip(model.task_names, traced.outputs, strict=True):
        of_task = {id(weight) for part in parts if task in part.tasks for weight in part.layer.weights} | weights_of([output])
        variables[task] = [variable for variable in model.weights if id(variable) in of_task]
    in_trunk = weights_of([tf.convert_to_tensor(value) for value in keras.tree.flatten(shared)])
    used = [(handles[id(handle)], inner) for handle, inner in traced.graph.captures if id(handle) in handles]
    tables = {id(variable) for variable, inner in used if len(variable.shape) == 2 and _only_rows_read(inner)}
    trunk = [variable for variable in model.weights if id(variable) in in_trunk]
    return Dependencies(variables, trunk, [variable for variable in trunk if id(variable) in tables])


def _ancestors(outputs: Iterable[tf.Tensor]) -> set[str]:
    """Names of the operations that gradients of tensors pass through."""
    seen: set[str] = set()
    to_visit = [output.op for output in outputs]
    while to_visit:
        operation = to_visit.pop()
        if operation.name not in seen and operation.type not in _BARRIERS:
            seen.add(operation.name)
            to_visit.extend(tensor.op for tensor in operation.inputs)
    return seen


def _only_rows_read(resource: tf.Tensor) -> bool:
    """Return whether a graph reads only rows of a variable, given by its handle in the graph."""
    reads = resource.consumers()
    uses = [use for read in reads for value in read.outputs for use in value.consumers()]
    return all(read.type == "ReadVariableOp" for read in reads) and all(
        use.type == "GatherV2" and use.get_attr("batch_dims") == 0 and tf.get_static_value(use.inputs[2]) == 0 for use in uses
    )


def shared_size(model: TrainableModel) -> int:
    """Number of weights that two or more tasks depend on, frozen ones included: the length of tracked gradients."""
    return sum(math.prod(v.shape) for v in common_to_tasks(dependencies_of(model).variables))


def common_to_tasks(variables: Mapping[str, Sequence[keras.Variable]]) -> list[keras.Variable]:
    """Weights that two or more tasks depend on, given those of each task."""
    count = Counter(id(v) for of_task in variables.values() for v in of_task)
    unique = {id(v): v for of_task in variables.values() for v in of_task}
    return [v for key, v in unique.items() if count[key] > 1]
