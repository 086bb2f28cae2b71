"""A very small encoder whose arithmetic fits on a page."""

from typing import Any

import keras

from mtl.encoders.encoder import Encoder


@keras.saving.register_keras_serializable("mtl_tests")
class Bag(Encoder):
    """An embedding and its mean over tokens."""

    def __init__(self, vocabulary_size: int = 20, width: int = 6, tokenizer: Any = None, top: bool = False, **kwargs: Any):
        inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in ("token_ids", "padding_mask")}
        self_embedding = keras.layers.Embedding(vocabulary_size, width, name="embedding")
        embedded = self_embedding(inputs["token_ids"])
        sequence = keras.layers.Dense(width, "tanh", name="top")(embedded) if top else embedded
        states = [embedded, sequence] if top else []
        super().__init__(inputs, sequence, pooling="mean", tokenizer=tokenizer, states=states, **kwargs)
        self.vocabulary_size, self.embedding_width, self.top = vocabulary_size, width, top
        self.embedding = self_embedding

    @property
    def token_embedding(self) -> keras.layers.Layer:
        return self.embedding

    def get_config(self) -> dict[str, Any]:
        tokenizer = None if self.tokenizer is None else keras.saving.serialize_keras_object(self.tokenizer)
        sizes = {"vocabulary_size": self.vocabulary_size, "width": self.embedding_width, "top": self.top}
        return {**sizes, "tokenizer": tokenizer, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "Bag":
        tokenizer = config["tokenizer"]
        return cls(**{**config, "tokenizer": tokenizer and keras.saving.deserialize_keras_object(tokenizer)})
