"""Rejection of texts where a model takes numbers."""

from numbers import Number
from typing import Any

import keras
import tensorflow as tf

__all__ = ["refuse_texts"]

_USE = {
    "inputs": "Use predict_text to predict on texts, and mtl.data.mix to make batches of texts and labels.",
    "targets": "Use mtl.data.mix to make batches of texts and labels.",
}


def refuse_texts(x: Any, y: Any = None) -> None:
    """Raise a `TypeError` if a model's inputs or targets are not numbers.

    Args:
        x: inputs in any nesting, or a `tf.data.Dataset` or `keras.utils.PyDataset` of inputs, or of inputs and targets. Objects
            that can be read only once, such as generators, are not checked.
        y: targets in any nesting.

    Raises:
        TypeError: if there is a text among them, or an object that holds no numbers, such as a source.
    """
    if isinstance(x, (tf.data.Dataset, tf.distribute.DistributedDataset)):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(x.element_spec)
    elif isinstance(x, keras.utils.PyDataset):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(x[0])
    for data, what, expected in ((x, "inputs", "token ids as inputs"), (y, "targets", "numbers as targets")):
        for leaf in tf.nest.flatten(data):
            if _is_text(leaf):
                raise TypeError(f"The model expects {expected}; got texts. {_USE[what]}")
            if not _may_hold_numbers(leaf):
                raise TypeError(f"The model expects {expected}; got {type(leaf).__name__}. {_USE[what]}")


def _is_text(leaf: Any) -> bool:
    if hasattr(leaf, "to_numpy"):  # A table, or a column of a table.
        leaf = leaf.to_numpy()
    dtype = getattr(leaf, "dtype", None)
    first = leaf.flat[0] if getattr(dtype, "kind", "") == "O" and getattr(leaf, "size", 0) else leaf
    return isinstance(first, str | bytes) or dtype == tf.string or getattr(dtype, "kind", "") in ("U", "S", "T")


def _may_hold_numbers(leaf: Any) -> bool:
    """Return whether an object is a number, an array, or an iterable of batches, such as PyTorch's and Grain's data loaders."""
    if leaf is None or isinstance(leaf, Number) or type(leaf).__module__.partition(".")[0] in ("torch", "grain"):
        return True
    return any(hasattr(leaf, name) for name in ("dtype", "to_numpy", "__array__", "__next__", "get_tf_dataset", "components"))
