"""A pretrained encoder, from KerasHub or from a Hugging Face folder."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import keras

from mtl.data.tokenizers.tokenizer import Tokenizer
from mtl.encoders.encoder import Encoder
from mtl.encoders.hugging_face import BERT_LIKE, WEIGHTS, load_bert_like, number_in, weight_files
from mtl.utils import brief, expanded, nearest, read_json, unknown_name
from mtl.utils.arguments import checked
from mtl.utils.configs import check_config
from mtl.utils.foreign import foreign
from mtl.utils.types import Count, Size

__all__ = ["Pretrained"]

_tanh_gelu = partial(keras.activations.gelu, approximate=True)

#: Activations by the names that Hugging Face gives them; plain "gelu" is the exact one.
ACTIVATIONS = {
    "gelu": keras.activations.gelu,
    "gelu_python": keras.activations.gelu,
    "gelu_new": _tanh_gelu,
    "gelu_fast": _tanh_gelu,
    "gelu_pytorch_tanh": _tanh_gelu,
    "mish": keras.activations.mish,
    "relu": keras.activations.relu,
    "silu": keras.activations.silu,
    "swish": keras.activations.silu,
    "tanh": keras.activations.tanh,
}
KERAS_WEIGHTS = ("model.weights.h5", "model.weights.json")


@keras.saving.register_keras_serializable("mtl")
class Pretrained(Encoder):
    """A pretrained encoder: the last layer's vectors, pooled by `pooling` (the network's own pooled output is not used).

    For a Hugging Face folder, the activation and the epsilon of layer norms are those of its `config.json`, and dropout is
    its `hidden_dropout_prob`, for attention weights too. Its weights are safetensors, in one file or several, in float16,
    bfloat16 or float32, of the network alone or with a head, such as a masked language model's, which is not used.

    The `.keras` file holds the architecture, the weights and the tokenizer: loading needs neither the folder nor a download.

    Args:
        preset: a name or handle of a KerasHub preset; a local folder of Hugging Face or KerasHub; or a
            `keras_hub.models.Backbone`, whose layers the encoder then shares.
        pooling: `"cls"`, `"mean"`, `"max"` or `"attention"`.
        max_length: the longest sequence, in tokens; None for the network's maximum.
        tokenizer: a `mtl.data.Tokenizer`; None for the preset's own. A backbone, or a folder that holds no tokenizer, has
            none: the encoder then takes integers only.
        activation: Hugging Face's name of the feed-forward networks' activation; None for the preset's own.
        epsilon: epsilon of the layer norms; None for the preset's own.
        pad_id: the id of padding; None for the tokenizer's, or else the folder's, or else 0.
        dtype: the type or policy of the layers; None for Keras's global policy. A backbone keeps its policy.

    Raises:
        ValueError: neither a preset nor a folder, an architecture that is not supported, a `max_length` beyond what the
            network takes, or a tokenizer of more tokens than it has.
        FileNotFoundError: a folder that lacks its configuration or its weights.

    Example:

    >>> import keras_hub, numpy as np
    >>> backbone = keras_hub.models.BertBackbone(100, num_layers=2, num_heads=2, hidden_dim=16, intermediate_dim=32)
    >>> encoder = Pretrained(backbone)
    >>> sorted(encoder.input_names), encoder.max_length, len(encoder.blocks)
    (['padding_mask', 'segment_ids', 'token_ids'], 512, 3)

    Reference:
        Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding", NAACL 2019.
    """

    @checked
    def __init__(
        self,
        preset: Any,
        *,
        pooling: str = "mean",
        max_length: Count | None = None,
        tokenizer: Any = None,
        activation: str | None = None,
        epsilon: float | None = None,
        pad_id: Size | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ):
        # Layers.
        if isinstance(preset, str | Path):
            backbone, own = _load(str(preset), dtype)
            tokenizer = tokenizer or _load_tokenizer(str(preset))
        else:
            backbone, own = preset, {}
        activation, epsilon = activation or own.get("activation"), epsilon or own.get("epsilon")
        inputs = _inputs(backbone)
        _mend(backbone, activation, epsilon)
        limit = getattr(backbone, "max_sequence_length", None)
        if limit and max_length and max_length > limit:
            raise ValueError(f"Pretrained expects a max_length of at most {limit}, the network's positions; got {max_length}.")
        if tokenizer is not None and tokenizer.vocabulary_size > backbone.vocabulary_size:
            raise ValueError(
                f"Pretrained got a tokenizer of {tokenizer.vocabulary_size} tokens for a network of {backbone.vocabulary_size}: "
                "they do not belong together."
            )

        # Functional model: the backbone's own graph, up to the last layer.
        sequence = backbone.output["sequence_output"] if isinstance(backbone.output, Mapping) else backbone.output
        blocks = [keras.tree.flatten(layer) for layer in getattr(backbone, "transformer_layers", [])]
        if pad_id is None:
            pad_id = (own.get("pad_id") if tokenizer is None else tokenizer.pad_id) or 0
        super().__init__(
            inputs,
            sequence,
            pooling=pooling,
            tokenizer=tokenizer,
            max_length=max_length or limit,
            pad_id=pad_id,
            dtype=backbone.dtype_policy,
            states=_states(blocks),
            **kwargs,
        )

        # Config.
        self.backbone_config = keras.saving.serialize_keras_object(backbone)
        self.activation = activation
        self.epsilon = epsilon
        self._block_names = [[layer.name for layer in block] for block in blocks]

    @property
    def token_embedding(self) -> keras.layers.Layer:
        for layer in self.layers:
            # RoBERTa and others keep it within a layer for tokens and positions.
            found = layer if layer.name == "token_embedding" else getattr(layer, "token_embedding", None)
            if found is not None:
                return found
        return super().token_embedding

    @property
    def blocks(self) -> list[list[keras.layers.Layer]]:
        if not self._block_names:
            return [block for block in super().blocks if block[0].name != "pooling"]
        block_of = {name: i for i, names in enumerate(self._block_names, 1) for name in names}
        blocks: list[list[keras.layers.Layer]] = [[] for _ in range(len(self._block_names) + 1)]
        current = 0
        for layer in self.layers:
            if layer.weights and layer.name != "pooling":
                current = block_of.get(layer.name, current)
                blocks[current].append(layer)
        return blocks

    def get_config(self) -> dict[str, Any]:
        mends = {"activation": self.activation, "epsilon": self.epsilon, "pad_id": self.pad_id}
        return {**super().get_config(), "preset": self.backbone_config, **mends}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Encoder:
        import keras_hub

        check_config(config, f"the encoder {cls.__name__}")
        preset = config.get("preset")
        backbone = keras.saving.deserialize_keras_object(preset, custom_objects) if isinstance(preset, dict) else preset
        if not isinstance(backbone, keras_hub.models.Backbone):
            raise ValueError(
                f"The configuration of a {cls.__name__} holds its network's; got preset={brief(backbone)}: loading opens no "
                "other file and reaches for no network. Load no such file."
            )
        return super().from_config({**config, "preset": backbone}, custom_objects)


def _states(blocks: list[list[Any]]) -> list[Any]:
    """Return the input of the first block and the output of each; empty where a block runs more than once."""
    layers = [layer for block in blocks for layer in block]
    if not layers or any(len(layer._inbound_nodes) != 1 for layer in layers):
        return []
    return [keras.tree.flatten(layers[0].input)[0], *(block[-1].output for block in blocks)]


def _load(preset: str, dtype: Any) -> tuple[Any, dict[str, Any]]:
    """Return the backbone of a preset, and a Hugging Face folder's activation, epsilon and id of padding."""
    from keras_hub.models import Backbone

    folder = expanded(preset)
    options = {} if dtype is None else {"dtype": dtype}
    if not folder.is_dir():
        if "://" not in preset and preset not in Backbone.presets:
            guess = nearest(preset, Backbone.presets)
            hint = f"; did you mean '{guess}'?" if guess else "."
            raise ValueError(f"Expected a KerasHub preset or a folder; '{preset}' is neither{hint}")
        return Backbone.from_preset(preset, **options), {}
    config = _config(folder)
    kind = config.get("model_type")
    if kind:
        weight_files(folder)
    elif (folder / WEIGHTS).exists():
        raise ValueError(f"Expected a model_type in '{folder / 'config.json'}'; it has none. Fetch the whole folder again.")
    elif not any((folder / name).is_file() for name in KERAS_WEIGHTS):
        raise FileNotFoundError(f"Expected weights in the folder '{folder}'; it has no {KERAS_WEIGHTS[0]}.")
    with foreign(f"KerasHub cannot read the model in '{folder}' (model_type {brief(kind)})"):
        if kind in BERT_LIKE:
            return load_bert_like(folder, config, options)
        check_config(config, f"'{folder}'")
        return Backbone.from_preset(str(folder), **options), {"pad_id": number_in(config, "pad_token_id")}


def _config(folder: Path) -> dict[str, Any]:
    """Return the contents of a folder's `config.json`."""
    if not (folder / "config.json").exists():
        raise FileNotFoundError(f"Expected a Hugging Face or KerasHub model in the folder '{folder}'; it has no config.json.")
    return read_json(folder / "config.json")


def _load_tokenizer(preset: str) -> Tokenizer | None:
    """Return the preset's tokenizer, or None for a folder that has none."""
    from keras_hub import models

    folder = expanded(preset)
    if folder.is_dir():
        hugging_face = "model_type" in _config(folder)
        if hugging_face and any((folder / name).is_file() for name in ("tokenizer.json", "vocab.txt")):
            return Tokenizer.from_folder(folder)
        names = ("spiece.model", "sentencepiece.bpe.model", "vocab.json") if hugging_face else ("tokenizer.json",)
        if not any((folder / name).is_file() for name in names):
            return None
    with foreign(f"KerasHub cannot read the tokenizer of '{preset}'"):
        return Tokenizer.from_keras_hub(models.Tokenizer.from_preset(preset))


def _inputs(backbone: Any) -> dict[str, Any]:
    """Return the backbone's inputs, which must be those of an encoder."""
    from keras_hub.models import Backbone

    if not isinstance(backbone, Backbone):
        raise ValueError(f"Expected a KerasHub preset, a folder or a keras_hub Backbone; got {type(backbone).__name__}.")
    inputs = backbone.input if isinstance(backbone.input, Mapping) else {}
    needed, known = {"token_ids", "padding_mask"}, {"token_ids", "padding_mask", "segment_ids"}
    if not needed <= set(inputs) <= known:
        got = ", ".join(sorted(tensor.name for tensor in backbone.inputs))
        raise ValueError(
            f"Expected an encoder of text that takes token_ids and padding_mask (and perhaps segment_ids); "
            f"{type(backbone).__name__} takes {got}: choose a BERT-like architecture."
        )
    return dict(inputs)


def _mend(backbone: Any, activation: str | None, epsilon: float | None) -> None:
    """Set the activation and the epsilon of the layers, which KerasHub's constructors fix."""
    from keras_hub.layers import TransformerEncoder

    layers = backbone._flatten_layers(include_self=False)
    if activation is not None:
        if activation not in ACTIVATIONS:
            raise unknown_name("activation", activation, ACTIVATIONS)
        blocks = [layer for layer in layers if isinstance(layer, TransformerEncoder)]
        if not blocks:
            raise ValueError(f"The activation of {type(backbone).__name__} cannot be chosen; leave `activation` out.")
        for block in blocks:
            block._feedforward_intermediate_dense.activation = ACTIVATIONS[activation]
    if epsilon is not None:
        for layer in layers:
            if isinstance(layer, keras.layers.LayerNormalization):
                layer.epsilon = epsilon
