"""Texts where a model takes numbers."""

from typing import Any

import keras
import tensorflow as tf

__all__ = ["refuse_texts"]


def refuse_texts(x: Any, y: Any = None) -> None:
    """Checks that a model is given numbers.

    Args:
        x: inputs in any nesting, or a `tf.data.Dataset` of inputs, or of inputs and targets.
        y: targets in any nesting.

    Raises:
        TypeError: there is a text among them.
    """
    if isinstance(x, tf.data.Dataset):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(x.element_spec)
    for data, expected, use in (
        (x, "token ids as inputs", "predict_text to predict on texts, and mtl.data.mix"),
        (y, "numbers as targets", "mtl.data.mix"),
    ):
        for leaf in tf.nest.flatten(data):
            dtype = getattr(leaf, "dtype", None)
            first = leaf.flat[0] if getattr(dtype, "kind", "") == "O" and getattr(leaf, "size", 0) else leaf
            if isinstance(first, str | bytes) or dtype == tf.string or getattr(dtype, "kind", "") in ("U", "S", "T"):
                raise TypeError(f"The model expects {expected}; got texts. Use {use} to make batches of texts and labels.")
