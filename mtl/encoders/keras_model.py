"""Any functional Keras model as an encoder."""

import copy
from typing import Any

import keras

from mtl.encoders.encoder import Encoder
from mtl.utils.arguments import checked
from mtl.utils.configs import check_config

__all__ = ["KerasModel"]

INPUTS = ("token_ids", "padding_mask", "segment_ids")


@keras.saving.register_keras_serializable("mtl")
class KerasModel(Encoder):
    """Any functional Keras model as an encoder.

    Its inputs are int32 `[B, S]`: `token_ids`, and `padding_mask` and `segment_ids` where the model has them. Its output is the
    `sequence [B, S, H]`. Each of its layers with weights is a block, and the output of a block, if its shape is `[B, S, ...]`,
    is a state: parts of the model can thus be frozen, mixed, or assigned to single tasks. The model is saved with the encoder.

    Args:
        model: the functional model.
        tokenizer: a `mtl.data.Tokenizer`, or None for an encoder that takes integers only.
        pooling: `"cls"`, `"mean"`, `"max"` or `"attention"`.
        **kwargs: arguments of `Encoder`: `max_length`, `pad_id`, `dtype`, `frozen`, `name`.

    Raises:
        ValueError: the model is not functional, or has other inputs or outputs.

    Example:

    >>> ids = keras.Input((None,), dtype="int32", name="token_ids")
    >>> x = keras.layers.Embedding(50, 8)(ids)
    >>> model = keras.Model(ids, keras.layers.Conv1D(8, 3, padding="same", activation="relu")(x))
    >>> encoder = KerasModel(model, pooling="max")
    >>> {name: tuple(value.shape) for name, value in encoder.output.items()}
    {'sequence': (None, None, 8), 'pooled': (None, 8)}
    """

    @checked
    def __init__(self, model: keras.Model, tokenizer: Any = None, *, pooling: str = "mean", **kwargs: Any):
        inputs = {tensor.name: tensor for tensor in keras.tree.flatten(getattr(model, "inputs", None) or ())}
        if "token_ids" not in inputs or not inputs.keys() <= set(INPUTS):
            raise ValueError(
                f"KerasModel expects a functional model whose inputs are named like {list(INPUTS)}, token_ids among them; "
                f"got {list(inputs) or 'none'}. Name them: keras.Input((None,), dtype='int32', name='token_ids')."
            )
        sequence = model.output
        if not keras.backend.is_keras_tensor(sequence) or len(sequence.shape) != 3 or sequence.shape[-1] is None:
            shape = getattr(sequence, "shape", None)
            raise ValueError(f"KerasModel expects a model that gives [B, S, H]; got {shape or type(sequence).__name__}.")
        if tokenizer is not None:
            kwargs.setdefault("pad_id", tokenizer.pad_id or 0)
        ids = inputs["token_ids"]
        inputs.setdefault("padding_mask", keras.Input(ids.shape[1:], dtype="int32", name="padding_mask"))
        blocks = [layer for layer in model.layers if layer.weights]
        states = [layer.output for layer in blocks if _is_sequence(layer)]
        super().__init__(inputs, sequence, pooling=pooling, tokenizer=tokenizer, states=states, **kwargs)
        self._model = lambda: model  # Inside a function, so that Keras does not track its layers twice.

    @property
    def token_embedding(self) -> keras.layers.Layer:
        for layer in self.layers:
            if isinstance(layer, keras.layers.Embedding):
                return layer
        return super().token_embedding

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "pad_id": self.pad_id, "model": keras.saving.serialize_keras_object(self._model())}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> "KerasModel":
        check_config(config, f"the encoder {cls.__name__}")
        described = copy.deepcopy(config.get("model"))  # Keras empties the config that it reads.
        model = keras.saving.deserialize_keras_object(described, custom_objects)
        return super().from_config({**config, "model": model}, custom_objects)


def _is_sequence(layer: keras.layers.Layer) -> bool:
    """Return whether the output of a layer is `[B, S, H]`."""
    return keras.backend.is_keras_tensor(layer.output) and len(layer.output.shape) == 3
