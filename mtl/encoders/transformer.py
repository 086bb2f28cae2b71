"""A Transformer encoder, from scratch."""

from typing import Any

import keras
from keras import ops

from mtl.data.tokenizers.tokenizer import Tokenizer
from mtl.encoders.encoder import MOST_LAYERS, Dtype, Encoder, resolve_vocabulary
from mtl.layers.packing import Packing
from mtl.utils import unknown_name
from mtl.utils.arguments import checked
from mtl.utils.types import Count, Rate, Size

__all__ = ["Transformer"]

NORMS = ("post", "pre")


@keras.saving.register_keras_serializable("mtl")
class Transformer(Encoder):
    """Embeddings of tokens, positions and segments, followed by blocks of self-attention and a feed-forward network.

    With `norm="post"` a block is `x = norm(x + attention(x)); x = norm(x + feedforward(x))`, as in BERT; with `"pre"` it is
    `x = x + attention(norm(x)); x = x + feedforward(norm(x))`, with one more norm at the end.

    Args:
        tokenizer: a `mtl.data.Tokenizer`, or None for an encoder that takes integers only.
        vocabulary_size: the number of token ids; the tokenizer's, where there is one.
        width: width of the outputs.
        layers: number of blocks.
        heads: number of attention heads; divides `width`.
        feedforward: width within the feed-forward network; None for `4 * width`.
        dropout: share of units and of attention weights dropped in training.
        norm: `"post"` or `"pre"`.
        activation: Keras's name of the feed-forward network's activation.
        max_length: the longest sequence, in tokens.
        packed: whether the texts of a batch are packed into as few rows as possible, with separate attention and positions, and
            unpacked again: the outputs are the same, and zeros at padding. Useful for batches whose texts differ much in length;
            those of `mtl.data.mix` have similar lengths already. Not supported under XLA.
        segments: number of segments: 2 for pairs of texts; 0 for an encoder without `segment_ids`.
        pooling: `"cls"`, `"mean"`, `"max"` or `"attention"`.
        dtype: the type or policy of the layers; None for Keras's global policy.

    Raises:
        ValueError: an argument out of its range, or no vocabulary.

    Example:

    >>> import numpy as np
    >>> encoder = Transformer(vocabulary_size=100, width=16, layers=2, heads=2, segments=0)
    >>> features = encoder({"token_ids": np.array([[5, 6, 0]]), "padding_mask": np.array([[1, 1, 0]])})
    >>> tuple(features["sequence"].shape), tuple(features["pooled"].shape)
    ((1, 3, 16), (1, 16))

    Reference:
        Vaswani et al., "Attention Is All You Need", NIPS 2017. Positions and segments: Devlin et al., "BERT", NAACL 2019.
        `"pre"`: Xiong et al., "On Layer Normalization in the Transformer Architecture", ICML 2020.
    """

    @checked
    def __init__(
        self,
        tokenizer: Tokenizer | None = None,
        *,
        vocabulary_size: Count | None = None,
        width: Count = 256,
        layers: Count = 4,
        heads: Count = 4,
        feedforward: Count | None = None,
        dropout: Rate = 0.1,
        norm: str = "post",
        activation: str = "gelu",
        max_length: Count = 512,
        packed: bool = False,
        segments: Size = 2,
        pooling: str = "mean",
        dtype: Dtype = None,
        **kwargs: Any,
    ):
        vocabulary_size, pad_id = resolve_vocabulary("Transformer", tokenizer, vocabulary_size)
        if norm not in NORMS:
            raise unknown_name("norm", norm, NORMS)
        if not 0 <= layers <= MOST_LAYERS:
            raise ValueError(f"Transformer expects at most {MOST_LAYERS:,} layers; got {layers}.")
        if heads < 1 or width % heads:
            raise ValueError(f"Transformer expects a width that its heads divide; got width={width} and heads={heads}.")
        feedforward = feedforward or 4 * width

        # Layers.
        normal = keras.initializers.TruncatedNormal(stddev=0.02)

        def embedding(size: int, name: str) -> keras.layers.Layer:
            return keras.layers.Embedding(size, width, normal.clone(), dtype=dtype, name=name)

        def layer_norm(name: str) -> keras.layers.Layer:
            return keras.layers.LayerNormalization(epsilon=1e-6, dtype=dtype, name=name)

        def dense(size: int, name: str, activation: str | None = None) -> keras.layers.Layer:
            return keras.layers.Dense(size, activation, kernel_initializer=normal.clone(), dtype=dtype, name=name)

        def drop(x: Any, name: str) -> Any:
            return keras.layers.Dropout(dropout, dtype=dtype, name=name)(x)

        # Functional model.
        names = ("token_ids", "padding_mask", "segment_ids") if segments else ("token_ids", "padding_mask")
        inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in names}
        positions = ops.maximum(ops.cumsum(inputs["padding_mask"], axis=1) - 1, 0)
        visible = ops.expand_dims(ops.cast(inputs["padding_mask"], "bool"), 1)
        indices = {**inputs, "positions": positions}
        if packed:
            packing = Packing(name="packing")(inputs["padding_mask"])
            indices = {name: ops.take(ops.reshape(each, (-1,)), packing["source"]) for name, each in indices.items()}
            visible = ops.equal(ops.expand_dims(packing["text"], 2), ops.expand_dims(packing["text"], 1))
        x = embedding(vocabulary_size, "token_embedding")(indices["token_ids"])
        x = x + embedding(max_length, "position_embedding")(indices["positions"])
        if segments:
            x = x + embedding(segments, "segment_embedding")(indices["segment_ids"])
        x = drop(layer_norm("embedding_norm")(x), "embedding_dropout")
        cuts = [x]
        for i in range(layers):
            attention = keras.layers.MultiHeadAttention(
                heads, width // heads, dropout=dropout, kernel_initializer=normal.clone(), dtype=dtype, name=f"attention_{i}"
            )
            attention_norm, feedforward_norm = layer_norm(f"attention_norm_{i}"), layer_norm(f"feedforward_norm_{i}")
            up, down = dense(feedforward, f"feedforward_up_{i}", activation), dense(width, f"feedforward_down_{i}")
            y = attention_norm(x) if norm == "pre" else x
            x = x + drop(attention(y, y, attention_mask=visible), f"attention_dropout_{i}")
            x = attention_norm(x) if norm == "post" else x
            y = feedforward_norm(x) if norm == "pre" else x
            x = x + drop(down(up(y)), f"feedforward_dropout_{i}")
            x = feedforward_norm(x) if norm == "post" else x
            cuts.append(x)
        if norm == "pre":
            x = layer_norm("final_norm")(x)

        def unpacked(x: Any) -> Any:
            if not packed:
                return x
            x = ops.take(ops.reshape(x, (-1, width)), packing["place"], axis=0)
            return x * ops.cast(ops.expand_dims(inputs["padding_mask"], 2), x.dtype)

        super().__init__(
            inputs,
            unpacked(x),
            pooling=pooling,
            tokenizer=tokenizer,
            max_length=max_length,
            pad_id=pad_id,
            dtype=dtype,
            states=[unpacked(cut) for cut in cuts],
            cuts=cuts,
            **kwargs,
        )

        # Config.
        self.sizes: dict[str, Any] = {
            "vocabulary_size": vocabulary_size,
            "width": width,
            "layers": layers,
            "heads": heads,
            "feedforward": feedforward,
            "dropout": dropout,
            "norm": norm,
            "activation": activation,
            "packed": packed,
            "segments": segments,
        }

    @property
    def token_embedding(self) -> keras.layers.Layer:
        return self.get_layer("token_embedding")

    @property
    def blocks(self) -> list[list[keras.layers.Layer]]:
        embeddings = ["token_embedding", "position_embedding", *(["segment_embedding"] if self.sizes["segments"] else [])]
        parts = ("attention", "attention_norm", "feedforward_up", "feedforward_down", "feedforward_norm")
        blocks = [[*embeddings, "embedding_norm"], *([f"{part}_{i}" for part in parts] for i in range(self.sizes["layers"]))]
        if self.sizes["norm"] == "pre":
            blocks[-1].append("final_norm")
        return [[self.get_layer(name) for name in block] for block in blocks]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.sizes}
