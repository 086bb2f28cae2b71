"""Decoded predictions for texts."""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from mtl.data.columns import Column, made_from_texts, padded_shape, row_values
from mtl.data.encoding import Encoding, encode_examples
from mtl.data.example import Example
from mtl.encoders.encoder import Encoder
from mtl.heads.head import Head
from mtl.utils.one_line import one_line

__all__ = [
    "Decoder",
    "PredictingModel",
    "Prediction",
    "PredictionFunctions",
    "Text",
    "flat_outputs",
    "pad",
    "predict_examples",
    "to_example",
    "to_examples",
]

Text = str | tuple[str, str] | list[str]


class Decoder(Protocol):
    """A decoder of predictions; every `mtl.heads.Head` is one."""

    def decode(self, prediction: Any, example: Example, encoding: Encoding) -> Any: ...


class PredictingModel(Protocol):
    """Part of a model that predictions use; a `mtl.MultiTaskModel` has it."""

    @property
    def inputs(self) -> Sequence[Any]: ...
    def trunk(self, x: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]: ...
    def branch(self, task: str, shared: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]: ...
    def head_of(self, task: str) -> Head: ...


def to_example(text: Any, position: int = 0) -> Example:
    """Return the example of a text, a pair of texts (tuple), a list of words, or a record `{"text": ..., "pair": ...}`.

    Raises:
        TypeError: anything else.
    """
    if isinstance(text, str):
        return Example(text)
    if isinstance(text, tuple) and len(text) == 2 and all(isinstance(part, str) for part in text):
        return Example(text[0], text[1])
    if isinstance(text, list) and all(isinstance(word, str) for word in text):
        return Example.from_words(text)
    if isinstance(text, Mapping):
        parts = dict(text)
        if "text" in parts and set(parts) <= {"text", "pair"} and all(isinstance(part, str) for part in parts.values()):
            return Example(**parts)
        raise TypeError(
            f"Text {position + 1}: expected a record of the texts 'text' and 'pair'; got {one_line(repr(parts), 80)}. "
            "Give several texts as a list, such as ['...'] or [{'text': '...', 'pair': '...'}]."
        )
    raise TypeError(
        f"Text {position + 1}: expected a string, a pair of strings (a tuple), a list of words or a record with 'text'; "
        f"got {type(text).__name__}. Give texts, and an mtl.data.Example to predict_examples."
    )


def to_examples(texts: Any) -> list[Example]:
    """Return the examples of one text, in any form that `to_example` accepts, or of several.

    Raises:
        TypeError: the argument is neither; for instance a table, whose items are the names of its columns.
    """
    if isinstance(texts, (str, tuple, Mapping)):
        texts = [texts]
    if isinstance(texts, np.ndarray) and texts.ndim == 0:
        texts = [texts.item()]
    if not isinstance(texts, Iterable) or isinstance(texts, bytes) or hasattr(texts, "keys"):
        raise TypeError(
            f"predict_text expects a text, or a list of texts; got {type(texts).__name__}. "
            "Give a list, such as list(table['text']) of a table."
        )
    return [to_example(text, i) for i, text in enumerate(texts)]


def pad(encodings: Sequence[Encoding], examples: Sequence[Example], columns: Mapping[str, Column]) -> dict[str, np.ndarray]:
    """Return the columns of one batch of encodings, each axis padded to its longest row, and to at least 1."""
    rows: dict[str, list[np.ndarray]] = {}
    sizes = [{"tokens": len(encoding)} for encoding in encodings]
    made = made_from_texts(columns)
    for column in (*made, *(column for column in columns.values() if column.values is None)):
        name = column.name
        rows[name] = [row_values(column, *row) for row in zip(examples, encodings, sizes, strict=True)]
        for values, of_row in zip(rows[name], sizes, strict=True):
            of_row.update({axis: n for axis, n in zip(column.axes, values.shape, strict=True) if isinstance(axis, str)})
    lengths = {axis: max(1, *(of_row[axis] for of_row in sizes)) for axis in (sizes[0] if sizes else ())}
    x = {}
    for name, column in columns.items():
        x[name] = np.full((len(encodings), *padded_shape(column.axes, lengths)), column.filler, column.dtype)
        for row, values in enumerate(rows[name]):
            place: Any = (row, *map(slice, values.shape))
            x[name][place] = values
    return x


def predict_examples(
    examples: Sequence[Example],
    encoder: Encoder,
    heads: Mapping[str, Decoder],
    columns: Mapping[str, Column],
    function: Callable[..., Any],
    batch_size: int,
) -> dict[str, list[dict[str, Any]]]:
    """Run a compiled prediction function on examples, batched by length, and decode its results.

    Args:
        examples: the examples.
        encoder: an encoder with a tokenizer.
        heads: task -> head.
        columns: the columns that the function takes, by name.
        function: a batch of inputs -> task -> prediction.
        batch_size: examples per batch.

    Raises:
        ValueError: the encoder has no tokenizer, or a batch has no text.
        FloatingPointError: a prediction is not a number.
    """
    if encoder.tokenizer is None:
        raise ValueError(
            "Predicting on texts expects an encoder that has a tokenizer; this one has none. Use predict with token ids."
        )
    encodings = encode_examples(examples, encoder.tokenizer, encoder.max_length)
    by_length = sorted(range(len(examples)), key=lambda i: len(encodings[i]))
    results: dict[str, list[Any]] = {name: [None] * len(examples) for name in heads}
    for start in range(0, len(examples), batch_size):
        rows = by_length[start : start + batch_size]
        batch = pad([encodings[i] for i in rows], [examples[i] for i in rows], columns)
        predictions = tf.nest.map_structure(lambda t: t.numpy(), function({k: tf.constant(v) for k, v in batch.items()}))
        for task, head in heads.items():
            for row, i in enumerate(rows):
                mine = tf.nest.map_structure(itemgetter(row), predictions[task])
                if any(value.dtype.kind == "f" and np.isnan(value).any() for value in tf.nest.flatten(mine)):
                    raise FloatingPointError(
                        f"Text {i + 1}: the prediction of '{task}' is not a number, as the model's weights are not finite. "
                        "Load the model from before they became so, such as a checkpoint."
                    )
                results[task][i] = head.decode(mine, examples[i], encodings[i])
    return results


class Prediction(keras.layers.Layer):
    """Layer that turns a head's outputs into the predictions of `predict`."""

    def __init__(self, head: Head, **kwargs: Any):
        super().__init__(dtype=head.dtype_policy, autocast=False, **kwargs)
        self._activate = head.activate
        self.built = True

    def call(self, outputs: Any, features: Mapping[str, Any]) -> Any:
        return self._activate(outputs, features)


def flat_outputs(predictions: Mapping[str, Any]) -> dict[str, Any]:
    """Return predictions without nesting; those of a task that has several are named `TASK/NAME`.

    Example:

    >>> flat_outputs({"mood": 1, "names": {"tags": 2, "probability": 3}})
    {'mood': 1, 'names/tags': 2, 'names/probability': 3}
    """
    return {
        f"{task}/{name}" if isinstance(output, Mapping) else task: value
        for task, output in predictions.items()
        for name, value in (output if isinstance(output, Mapping) else {task: output}).items()
    }


class PredictionFunctions:
    """Compiled prediction functions, one per selection of tasks, each created once; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[tuple[str, ...], Callable[..., Any]] = {}

    def get(self, model: PredictingModel, tasks: Sequence[str]) -> Callable[..., Any]:
        key = tuple(tasks)
        with self._lock:
            if key not in self._made:
                inputs = {tensor.name: tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in model.inputs}

                @tf.function(input_signature=[inputs], autograph=False)
                def predict(x: dict[str, tf.Tensor]) -> dict[str, Any]:
                    shared, result = model.trunk(x, training=False), {}
                    for task in key:
                        features, head = model.branch(task, shared, training=False), model.head_of(task)
                        result[task] = head.activate(head(features, training=False), features)
                    return result

                predict.get_concrete_function()
                self._made[key] = predict
            return self._made[key]

    def __deepcopy__(self, memo: Any) -> "PredictionFunctions":
        return PredictionFunctions()
