"""Base class of the encoders."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import keras

from mtl.data.columns import Column, encoder_columns
from mtl.layers.pooling import Pooling
from mtl.utils import brief
from mtl.utils.arguments import checked
from mtl.utils.configs import check_config
from mtl.utils.types import Count, Size

__all__ = ["MOST_LAYERS", "Encoder", "resolve_vocabulary"]

#: Maximal number of layers: a damaged or hostile file may ask for a billion.
MOST_LAYERS = 1000
#: Dtype policy of layers: a name such as "mixed_bfloat16", a policy, or the configuration of one.
Dtype = str | keras.DTypePolicy | Mapping[str, Any] | None


class Encoder(keras.Model):
    """Base class of encoders, functional Keras models that map token ids to features.

    Inputs, a dict of int32 tensors: `token_ids [B, S]`, `padding_mask [B, S]` (1 for tokens, 0 for padding, which follows
    the tokens) and, where `uses_segments`, `segment_ids [B, S]`.

    Outputs, a dict: `sequence [B, S, H]` and `pooled [B, H]`.

    Args:
        inputs: dict of `keras.Input`.
        sequence: the `[B, S, H]` tensor made from them.
        pooling: `"cls"`, `"mean"`, `"max"` or `"attention"`.
        tokenizer: a `mtl.data.Tokenizer`, or None for an encoder that takes integers only.
        max_length: the longest sequence, in tokens; None for any length.
        pad_id: the id of padding; used where `padding_mask` is not given.
        dtype: the type or policy of its layers; None for Keras's global policy.
        frozen: names of the layers that are not trained; all others are trained. None leaves `trainable` unchanged.
        states: `[B, S, H]` tensors, after the embeddings and after each block from the lowest up; empty for an encoder without
            access to them.
        cuts: the tensors at which the encoder can be cut in two, one per state, where those are not the states themselves.
    """

    @checked
    def __init__(
        self,
        inputs: dict[str, Any],
        sequence: Any,
        *,
        pooling: str,
        tokenizer: Any = None,
        max_length: Count | None = None,
        pad_id: Size = 0,
        dtype: Any = None,
        frozen: Sequence[str] | None = None,
        states: Sequence[Any] = (),
        cuts: Sequence[Any] | None = None,
        **kwargs: Any,
    ):
        pooled = Pooling(pooling, name="pooling", dtype=dtype)(sequence, padding_mask=inputs["padding_mask"])
        super().__init__(inputs=inputs, outputs={"sequence": sequence, "pooled": pooled}, **kwargs)
        if dtype is not None:
            self.dtype_policy = keras.dtype_policies.get(dtype)
        self.pooling = pooling
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.pad_id = pad_id
        self.width = int(sequence.shape[-1])
        self.states = tuple(states)
        self.cuts = self.states if cuts is None else tuple(cuts)
        if frozen is not None:
            for layer in self.layers:
                if layer.weights and layer.trainable == (layer.name in frozen):
                    layer.trainable = not layer.trainable

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        length = max(tensor.shape[1] or 0 for tensor in keras.tree.flatten(inputs))
        if self.max_length and length > self.max_length:
            raise ValueError(
                f"{type(self).__name__} expects at most max_length={self.max_length} tokens; got {length}: "
                "cut the texts, or make an encoder with a larger max_length."
            )
        return super().call(inputs, training=training, mask=mask)

    @cached_property
    def with_states(self) -> keras.Model:
        """The same network with a third output: `states`, the list of the states that have the width of `sequence`.

        Raises:
            ValueError: the encoder has no states.
        """
        self._check_states()
        wide = [state for state in self.states if state.shape[-1] == self.width]
        return keras.Model(self._named_inputs(), {**self.output, "states": wide}, name=f"{self.name}_with_states")

    def split(self, top: int) -> tuple[keras.Model, keras.Model]:
        """Return the encoder as two models that share its layers: the part below the top blocks, and the rest.

        Args:
            top: number of blocks in the second model, from 1 to the number of blocks.

        Returns:
            The lower model, a dict of inputs -> a state; and the upper one, a list of that state and of the inputs in the order
            of `input_names` -> features.

        Raises:
            ValueError: the encoder has no states, too few blocks, or weights that both parts would need.

        Example:

        >>> import mtl, numpy as np
        >>> encoder = mtl.encoders.Transformer(vocabulary_size=9, width=4, layers=2, heads=1)
        >>> lower, upper = encoder.split(top=1)
        >>> x = {name: keras.ops.ones([2, 3], "int32") for name in encoder.input_names}
        >>> bool(np.allclose(upper([lower(x), *x.values()])["pooled"], encoder(x)["pooled"]))
        True
        """
        self._check_states()
        blocks = len(self.cuts) - 1
        if not 1 <= top <= blocks:
            raise ValueError(f"{type(self).__name__} has {blocks} blocks to cut off the top; got {top}. Choose 1 to {blocks}.")
        state = self.cuts[-1 - top]
        lower = keras.Model(self._named_inputs(), state, name=f"{self.name}_trunk")
        upper = keras.Model([state, *self.inputs], self.output, name=f"{self.name}_top")
        below = {id(layer) for layer in lower.layers if layer.weights}
        if common := [layer.name for layer in upper.layers if id(layer) in below]:
            raise ValueError(
                f"{type(self).__name__} cannot be cut {top} blocks from the top: both parts need {common}. "
                "Choose an encoder whose blocks read only the block below them."
            )
        return lower, upper

    def copy(self, name: str) -> "Encoder":
        """Return a copy of the encoder under another name, with the same settings and separate weights of equal values."""
        result = type(self).from_config({**self.get_config(), "name": name})
        result.set_weights(self.get_weights())
        return result

    def _named_inputs(self) -> dict[str, Any]:
        return {tensor.name: tensor for tensor in self.inputs}

    def _check_states(self) -> None:
        if not self.states:
            raise ValueError(
                f"{type(self).__name__} shows no states between its blocks; pass states= to Encoder, or use another encoder."
            )

    @property
    def uses_segments(self) -> bool:
        """Whether the encoder takes `segment_ids`."""
        return "segment_ids" in self.input_names

    @property
    def columns(self) -> tuple[Column, ...]:
        """Columns of a batch that the encoder reads; a subclass with further inputs declares them here."""
        return encoder_columns(self.input_names, self.pad_id)

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return tuple(tensor.name for tensor in self.inputs)

    @property
    def token_embedding(self) -> keras.layers.Layer:
        """Layer that holds the `[vocabulary, width]` matrix of token embeddings."""
        raise AttributeError(f"{type(self).__name__} has no token embedding.")

    @property
    def blocks(self) -> list[list[keras.layers.Layer]]:
        """The encoder's layers from the lowest (embeddings) to the highest, for freezing and layer-wise learning rates."""
        return [[layer] for layer in self.layers if layer.weights]

    def get_config(self) -> dict[str, Any]:
        tokenizer = None if self.tokenizer is None else keras.saving.serialize_keras_object(self.tokenizer)
        config = {"pooling": self.pooling, "tokenizer": tokenizer, "max_length": self.max_length, "name": self.name}
        config["frozen"] = [layer.name for layer in self.layers if layer.weights and not layer.trainable]
        return {**config, "dtype": keras.dtype_policies.serialize(self.dtype_policy)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> "Encoder":
        """Create an encoder from the result of `get_config`.

        Raises:
            ValueError: the configuration refers to a file, a download, or code.
        """
        check_config(config, f"the encoder {cls.__name__}")
        config = dict(config)
        if config.get("tokenizer") is not None:
            tokenizer = keras.saving.deserialize_keras_object(config["tokenizer"], custom_objects)
            if not hasattr(tokenizer, "vocabulary_size"):
                raise ValueError(f"{cls.__name__} expects its tokenizer in its configuration; got {brief(tokenizer)}.")
            config["tokenizer"] = tokenizer
        if config.get("dtype") is not None:
            config["dtype"] = keras.dtype_policies.get(config["dtype"])
        return cls(**config)


def resolve_vocabulary(encoder: str, tokenizer: Any, vocabulary_size: int | None) -> tuple[int, int]:
    """Return the vocabulary's size and the id of padding, from the tokenizer if there is one.

    Args:
        encoder: name for the error message.
        tokenizer: a `mtl.data.Tokenizer`, or None.
        vocabulary_size: the size, needed where there is no tokenizer.

    Raises:
        ValueError: neither is given, or the two disagree.
    """
    if tokenizer is None:
        if not vocabulary_size or vocabulary_size < 1:
            raise ValueError(f"{encoder} expects a tokenizer, or a vocabulary_size above 0; got {vocabulary_size}.")
        return vocabulary_size, 0
    if vocabulary_size not in (None, tokenizer.vocabulary_size):
        raise ValueError(
            f"{encoder} got vocabulary_size={vocabulary_size}, and a tokenizer of {tokenizer.vocabulary_size} tokens: leave "
            "vocabulary_size out."
        )
    return tokenizer.vocabulary_size, tokenizer.pad_id or 0
