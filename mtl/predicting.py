"""From texts to what a person reads."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtl.data.encoding import Encoding, encode_examples
from mtl.data.example import Example
from mtl.data.mixture.store import word_mask

__all__ = ["Prediction", "PredictionFunctions", "Text", "pad", "predict_examples", "to_example"]

Text = str | tuple[str, str] | list[str]


def to_example(text: Any, position: int = 0) -> Example:
    """A text, a pair of texts (tuple) or a list of words as an example.

    Raises:
        TypeError: anything else.
    """
    if isinstance(text, str):
        return Example(text)
    if isinstance(text, tuple) and len(text) == 2 and all(isinstance(part, str) for part in text):
        return Example(text[0], text[1])
    if isinstance(text, list) and all(isinstance(word, str) for word in text):
        return Example.from_words(text)
    raise TypeError(
        f"Text {position + 1}: expected a string, a pair of strings (a tuple) or a list of words; got {type(text).__name__}."
    )


def pad(encodings: Sequence[Encoding], examples: Sequence[Example], names: Sequence[str], pad_id: int) -> dict[str, np.ndarray]:
    """Encodings as one batch of int32 `[B, S]`, S the longest."""
    length = max(1, *(len(encoding) for encoding in encodings))
    x = {name: np.zeros((len(encodings), length), np.int32) for name in names}
    x["token_ids"][:] = pad_id
    for row, (encoding, example) in enumerate(zip(encodings, examples, strict=True)):
        size = len(encoding)
        x["token_ids"][row, :size] = encoding.token_ids
        x["padding_mask"][row, :size] = 1
        if "segment_ids" in x:
            x["segment_ids"][row, :size] = encoding.segment_ids
        if "word_mask" in x:
            x["word_mask"][row, :size] = word_mask(example, encoding)
    return x


def predict_examples(
    examples: Sequence[Example], encoder: Any, heads: Mapping[str, Any], function: Callable[..., Any], batch_size: int
) -> dict[str, list[dict[str, Any]]]:
    """Runs a compiled prediction function over examples, those of like length together, and decodes its results.

    Args:
        examples: the examples.
        encoder: an encoder with a tokenizer.
        heads: task -> head.
        function: a batch of inputs -> task -> prediction.
        batch_size: examples in a batch.
    """
    if encoder.tokenizer is None:
        raise ValueError(
            "Predicting on texts expects an encoder that has a tokenizer; this one has none. Use predict with token ids."
        )
    if batch_size < 1:
        raise ValueError(f"A batch has at least 1 text; got batch_size={batch_size}.")
    encodings = encode_examples(examples, encoder.tokenizer, encoder.max_length)
    by_length = sorted(range(len(examples)), key=lambda i: len(encodings[i]))
    names = list(function.input_signature[0])  # type: ignore[attr-defined]
    results: dict[str, list[Any]] = {name: [None] * len(examples) for name in heads}
    for start in range(0, len(examples), batch_size):
        rows = by_length[start : start + batch_size]
        batch = pad([encodings[i] for i in rows], [examples[i] for i in rows], names, encoder.tokenizer.pad_id)
        predictions = tf.nest.map_structure(lambda t: t.numpy(), function({k: tf.constant(v) for k, v in batch.items()}))
        for task, head in heads.items():
            for row, i in enumerate(rows):
                size = len(encodings[i])
                per_token = head.target.per_token
                mine = tf.nest.map_structure(lambda t: t[row][:size] if per_token else t[row], predictions[task])  # noqa: B023
                results[task][i] = head.decode(mine, examples[i], encodings[i])
    return results


class Prediction(keras.layers.Layer):
    """A head's outputs -> what `predict` gives."""

    def __init__(self, head: Any, **kwargs: Any):
        super().__init__(dtype=head.dtype_policy, autocast=False, **kwargs)
        self._activate = head.activate
        self.built = True

    def call(self, outputs: Any, features: Mapping[str, Any]) -> Any:
        return self._activate(outputs, features)


class PredictionFunctions:
    """Compiled prediction functions, one for each choice of tasks; made once, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[tuple[str, ...], Callable[..., Any]] = {}

    def get(self, model: Any, tasks: Sequence[str]) -> Callable[..., Any]:
        key = tuple(tasks)
        with self._lock:
            if key not in self._made:
                inputs = {tensor.name: tf.TensorSpec((None, None), tf.int32) for tensor in model.inputs}

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
