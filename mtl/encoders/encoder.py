"""What every encoder is."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from mtl.layers.pooling import Pooling
from mtl.utils import brief
from mtl.utils.arguments import checked
from mtl.utils.configs import check_config
from mtl.utils.types import Count, Size

__all__ = ["MOST_LAYERS", "Encoder", "resolve_vocabulary"]

#: Layers that an encoder may have: a damaged or hostile file may ask for a billion.
MOST_LAYERS = 1000
#: What layers compute in: a name such as "mixed_bfloat16", a policy, or the configuration of one.
Dtype = str | keras.DTypePolicy | Mapping[str, Any] | None


class Encoder(keras.Model):
    """Token ids -> features: the base of all encoders, a functional Keras model.

    Inputs, a dict of int32 tensors: `token_ids [B, S]`, `padding_mask [B, S]` (1 for a token, 0 for padding, which follows the
    tokens) and, where `uses_segments`, `segment_ids [B, S]`.

    Outputs, a dict: `sequence [B, S, H]` and `pooled [B, H]`.

    Args:
        inputs: dict of `keras.Input`.
        sequence: the `[B, S, H]` tensor made from them.
        pooling: `"cls"`, `"mean"`, `"max"` or `"attention"`.
        tokenizer: a `mtl.data.Tokenizer`, or None for an encoder that takes integers only.
        max_length: the longest sequence, in tokens; None for any length.
        pad_id: the id of padding; used where `padding_mask` is not given.
        dtype: the type or policy of its layers; None for Keras's global policy.
        frozen: names of the layers that are not trained, and all others are; None leaves them as they were made.
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

    @property
    def uses_segments(self) -> bool:
        """Whether the encoder takes `segment_ids`."""
        return "segment_ids" in self.input_names

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return tuple(tensor.name for tensor in self.inputs)

    @property
    def token_embedding(self) -> keras.layers.Layer:
        """The layer that holds the `[vocabulary, width]` matrix of token embeddings."""
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
        """The encoder from `get_config`.

        Raises:
            ValueError: the configuration names a file, something to fetch, or code.
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
    """The vocabulary's size and the id of padding, from the tokenizer where there is one.

    Args:
        encoder: what the error names.
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
