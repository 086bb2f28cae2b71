"""Several short texts in one row."""

from typing import Any

import keras
import tensorflow as tf

__all__ = ["Packing"]


@keras.saving.register_keras_serializable("mtl")
class Packing(keras.layers.Layer):
    """Positions of a batch's tokens when its texts are packed into few rows of the same length.

    Texts are placed from the longest to the shortest; each follows the last one in its row, or starts a new row if it is full.

    Returns:
        From `padding_mask [B, S]`, 1 for tokens and 0 for padding, a dict of int32 tensors. For the `P`
        packed rows: `source [P, S]`, the index of each token in the flattened batch; and `text [P, S]`, the number of its text,
        from 1. For the batch: `place [B, S]`, the index of each token in the flattened packed rows. All are 0 where there is no
        token.

    `P` depends on the batch: XLA, which needs static shapes, cannot compile this layer.

    Example:

    >>> import numpy as np
    >>> packed = Packing()(np.array([[1, 0, 0], [1, 1, 1], [1, 1, 0]]))
    >>> packed["text"].numpy().tolist(), packed["place"].numpy().tolist()
    ([[2, 2, 2], [3, 3, 1]], [[5, 0, 0], [0, 1, 2], [3, 4, 0]])

    Reference:
        Krell et al., "Efficient Sequence Packing without Cross-contamination", 2021.
    """

    def call(self, padding_mask: Any) -> dict[str, Any]:
        mask = tf.cast(padding_mask, tf.int32)
        batch, length = tf.shape(mask)[0], tf.shape(mask)[1]
        sizes = tf.reduce_sum(mask, axis=1)
        order = tf.argsort(sizes, direction="DESCENDING", stable=True)

        def put(last: tuple[tf.Tensor, tf.Tensor], size: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            """Return row and end of a text from those of the text before it."""
            row, end = last
            fits = end + size <= length
            return tf.where(fits, row, row + 1), tf.where(fits, end + size, size)

        rows, ends = tf.scan(put, tf.gather(sizes, order), (tf.constant(0), tf.constant(0)))
        start = tf.scatter_nd(order[:, None], rows * length + ends, [batch]) - sizes
        place = (start[:, None] + tf.cumsum(mask, axis=1, exclusive=True)) * mask
        tokens = tf.where(mask > 0)
        at, tokens = tf.gather_nd(place, tokens)[:, None], tf.cast(tokens, tf.int32)
        packed = tf.reduce_max(tf.concat([rows + 1, [0]], axis=0))  # None for a batch without rows.
        source = tf.scatter_nd(at, tokens[:, 0] * length + tokens[:, 1], packed[None] * length)
        text = tf.scatter_nd(at, tokens[:, 0] + 1, packed[None] * length)
        shape = [packed, length]
        return {"source": tf.reshape(source, shape), "text": tf.reshape(text, shape), "place": place}

    def compute_output_spec(self, padding_mask: Any) -> dict[str, keras.KerasTensor]:
        packed, batch = (None, padding_mask.shape[1]), tuple(padding_mask.shape)
        return {name: keras.KerasTensor(batch if name == "place" else packed, "int32") for name in ("source", "text", "place")}
