"""A recurrent encoder."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from mtl.data.tokenizers.tokenizer import Tokenizer
from mtl.encoders.encoder import MOST_LAYERS, Dtype, Encoder, resolve_vocabulary
from mtl.encoders.word_vectors import load_word_vectors
from mtl.layers.token_dropout import TokenDropout
from mtl.utils import brief, unknown_name
from mtl.utils.arguments import checked
from mtl.utils.types import Count, Rate, Size

__all__ = ["Recurrent"]

CELLS = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}


@keras.saving.register_keras_serializable("mtl")
class Recurrent(Encoder):
    """Token embeddings followed by layers of LSTMs or GRUs, in one direction or both.

    The outputs at a token do not depend on the padding after it; at padding they are zero. For the backward direction, each row
    is reversed within its length: no layer needs a mask, which is fastest on a CPU and allows cuDNN on a GPU.

    Dropout drops the same units at all tokens of a row, in the embeddings and in each layer's outputs.

    Args:
        tokenizer: a `mtl.data.Tokenizer`, or None for an encoder that takes integers only.
        vocabulary_size: the number of token ids; the tokenizer's, where there is one.
        cell: `"lstm"` or `"gru"`.
        bidirectional: whether each layer reads both ways.
        embedding: width of the embeddings; that of `embedding_matrix`, where there is one.
        units: width of one direction of a layer.
        layers: number of layers.
        dropout: share of units dropped in training.
        token_dropout: share of tokens replaced by the unknown token (id 1 without a tokenizer) in training. See
            `mtl.layers.TokenDropout`.
        skip: whether the embeddings are concatenated to the last layer's outputs, `[h; e]`, so that heads and pooling receive
            single tokens and bigrams too.
        bigrams: buckets for pairs of neighbouring tokens, useful for Chinese characters; 0 for none. See `BigramEmbedding`.
        embedding_matrix: `[V, D]` word vectors, or the path of a word2vec or GloVe text file (`.gz` or plain), read for the
            tokenizer's vocabulary. Tokens that the file lacks are initialised at random.
        train_embedding: whether the token embeddings are trained.
        pooling: `"cls"`, `"mean"`, `"max"` or `"attention"`.
        max_length: the longest sequence, in tokens; None for any length.
        dtype: the type or policy of the layers; None for Keras's global policy.

    Raises:
        ValueError: an argument out of its range, or no vocabulary.

    Example:

    >>> import numpy as np
    >>> encoder = Recurrent(vocabulary_size=100, units=16)
    >>> features = encoder({"token_ids": np.array([[5, 6, 0]]), "padding_mask": np.array([[1, 1, 0]])})
    >>> tuple(features["sequence"].shape), tuple(features["pooled"].shape)
    ((1, 3, 32), (1, 32))

    Reference:
        Graves and Schmidhuber, "Framewise Phoneme Classification with Bidirectional LSTM and Other Neural Network
        Architectures", Neural Networks 2005. Dropout: Gal and Ghahramani, "A Theoretically Grounded Application of Dropout in
        Recurrent Neural Networks", NIPS 2016, without dropout within the recurrence.
    """

    @checked
    def __init__(
        self,
        tokenizer: Tokenizer | None = None,
        *,
        vocabulary_size: Count | None = None,
        cell: str = "lstm",
        bidirectional: bool = True,
        embedding: Count = 128,
        units: Count = 128,
        layers: Count = 1,
        dropout: Rate = 0.1,
        token_dropout: Rate = 0.0,
        skip: bool = False,
        bigrams: Size = 0,
        embedding_matrix: np.ndarray | str | Path | None = None,
        train_embedding: bool = True,
        pooling: str = "max",
        max_length: Count | None = None,
        dtype: Dtype = None,
        **kwargs: Any,
    ):
        vocabulary_size, pad_id = resolve_vocabulary("Recurrent", tokenizer, vocabulary_size)
        if cell not in CELLS:
            raise unknown_name("cell", cell, CELLS)
        if layers > MOST_LAYERS:
            raise ValueError(f"Recurrent expects at most {MOST_LAYERS:,} layers; got {layers}. Take fewer.")
        vectors, found = _vectors(embedding_matrix, tokenizer, vocabulary_size) if embedding_matrix is not None else (None, None)
        embedding = embedding if vectors is None else vectors.shape[1]

        # Layers.
        limit = (3 / embedding) ** 0.5
        uniform = keras.initializers.RandomUniform(-limit, limit)
        token_embedding = keras.layers.Embedding(vocabulary_size, embedding, uniform, dtype=dtype, name="token_embedding")
        token_embedding.build(None)
        if vectors is not None:
            token_embedding.embeddings.assign(ops.where(ops.expand_dims(found, 1), vectors, token_embedding.embeddings))
        token_embedding.trainable = train_embedding
        bigram_embedding = BigramEmbedding(bigrams, embedding, dtype=dtype, name="bigram_embedding") if bigrams else None
        reverse = Reverse(dtype=dtype, name="reverse")
        directions = ("forward", "backward") if bidirectional else ("forward",)
        stack = [
            [CELLS[cell](units, return_sequences=True, dtype=dtype, name=f"{direction}_{i}") for direction in directions]
            for i in range(layers)
        ]
        drops = [keras.layers.SpatialDropout1D(dropout, dtype=dtype, name=f"dropout_{i}") for i in range(layers + 1)]

        # Functional model.
        inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in ("token_ids", "padding_mask")}
        token_ids, padding_mask = inputs["token_ids"], inputs["padding_mask"]
        if token_dropout:
            unknown_id = 1 if tokenizer is None else tokenizer.unknown_id
            if unknown_id is None:
                raise ValueError("token_dropout expects a tokenizer with an unknown token; this one has none. Leave it out.")
            token_ids = TokenDropout(token_dropout, unknown_id, pad_id, name="token_dropout")(token_ids)
        x = token_embedding(token_ids)
        if bigram_embedding:
            x = x + bigram_embedding(token_ids, padding_mask)
        x = embedded = drops[0](x)
        cuts = [x]
        for recurrent, drop in zip(stack, drops[1:], strict=True):
            outputs = [recurrent[0](x)]
            if bidirectional:
                outputs.append(reverse(recurrent[1](reverse(x, padding_mask)), padding_mask))
            x = drop(ops.concatenate(outputs, axis=-1) if bidirectional else outputs[0])
            cuts.append(x)
        if skip:
            x = ops.concatenate([x, embedded], axis=-1)
        mask = ops.expand_dims(ops.cast(padding_mask, x.dtype), -1)
        x = x * mask
        super().__init__(
            inputs,
            x,
            pooling=pooling,
            tokenizer=tokenizer,
            max_length=max_length,
            pad_id=pad_id,
            dtype=dtype,
            states=[state * mask for state in cuts[:-1]] + [cuts[-1] * mask if skip else x],
            cuts=cuts,
            **kwargs,
        )

        # Config.
        #: The share of the vocabulary for which `embedding_matrix` has vectors; None without one, and after loading.
        self.embedding_coverage = None if found is None else float(found.mean())
        self.sizes: dict[str, Any] = {
            "vocabulary_size": vocabulary_size,
            "cell": cell,
            "bidirectional": bidirectional,
            "embedding": embedding,
            "units": units,
            "layers": layers,
            "dropout": dropout,
            "token_dropout": token_dropout,
            "skip": skip,
            "bigrams": bigrams,
            "train_embedding": train_embedding,
        }

    @property
    def token_embedding(self) -> keras.layers.Layer:
        return self.get_layer("token_embedding")

    @property
    def blocks(self) -> list[list[keras.layers.Layer]]:
        names = ["token_embedding", *(["bigram_embedding"] if self.sizes["bigrams"] else [])]
        directions = ("forward", "backward") if self.sizes["bidirectional"] else ("forward",)
        stack = [[f"{direction}_{i}" for direction in directions] for i in range(self.sizes["layers"])]
        return [[self.get_layer(name) for name in block] for block in [names, *stack]]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.sizes}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Encoder:
        if isinstance(config, dict) and config.get("embedding_matrix") is not None:
            raise ValueError(
                f"The configuration of a {cls.__name__} holds no embedding_matrix, whose vectors are among the weights; got "
                f"{brief(config['embedding_matrix'])}: loading opens no other file. Load no such file."
            )
        return super().from_config(config, custom_objects)


@keras.saving.register_keras_serializable("mtl")
class Reverse(keras.layers.Layer):
    """Reverse each row's tokens and keep its padding in place: `[B, S, H]` and `padding_mask [B, S]` -> `[B, S, H]`."""

    def call(self, sequence: Any, padding_mask: Any) -> Any:
        length = tf.reduce_sum(tf.cast(padding_mask, tf.int32), axis=1, keepdims=True)
        position = tf.range(tf.shape(sequence)[1])[tf.newaxis]
        return tf.gather(sequence, tf.where(position < length, length - 1 - position, position), batch_dims=1)


@keras.saving.register_keras_serializable("mtl")
class BigramEmbedding(keras.layers.Layer):
    """Embeddings of the pairs (previous token, token) and (token, next token), concatenated.

    Pairs share `buckets` vectors of half the width by a universal hash, `((a x + b y) mod p) mod buckets` with `p = 2^31 - 1`,
    where `x` and `y` are the two ids plus 1, or 0 beyond either end of a row.

    Args:
        buckets: number of vectors.
        width: width of the result; even.

    Returns:
        `[B, S, width]`, from `token_ids [B, S]` and `padding_mask [B, S]`.

    Raises:
        ValueError: no buckets, or an odd width.

    Reference:
        The hash: Carter and Wegman, "Universal Classes of Hash Functions", JCSS 1979.
    """

    @checked
    def __init__(self, buckets: int, width: Count, **kwargs: Any):
        super().__init__(**kwargs)
        if buckets < 1 or width % 2:
            raise ValueError(f"Bigrams expect at least 1 bucket and an embedding of even width; got {buckets} and {width}.")
        self.buckets, self.width = buckets, width
        self.table = keras.layers.Embedding(buckets, width // 2, dtype=self.dtype_policy, name="table")

    def build(self, *_: Any) -> None:
        self.table.build(None)

    def call(self, token_ids: Any, padding_mask: Any) -> Any:
        ids = tf.cast((token_ids + 1) * padding_mask, tf.int64)
        left, right = tf.pad(ids, [[0, 0], [1, 0]]), tf.pad(ids, [[0, 0], [0, 1]])
        pairs = self.table((1_103_515_245 * left + 1_566_083_941 * right) % (2**31 - 1) % self.buckets)
        return tf.concat([pairs[:, :-1], pairs[:, 1:]], axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "buckets": self.buckets, "width": self.width}


def _vectors(matrix: Any, tokenizer: Any, vocabulary_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return word vectors `[V, D]`, and which of them are known, `[V]`."""
    if isinstance(matrix, str | Path):
        if tokenizer is None:
            raise ValueError(f"Recurrent needs a tokenizer to read embedding_matrix from '{matrix}'; got none.")
        return load_word_vectors(matrix, tokenizer.vocabulary())
    matrix = np.asarray(matrix, np.float32)
    if matrix.ndim != 2 or len(matrix) != vocabulary_size:
        raise ValueError(f"Recurrent expects an embedding_matrix of shape ({vocabulary_size}, D); got {matrix.shape}.")
    return matrix, np.ones(vocabulary_size, bool)
