"""The network of a Hugging Face folder of the BERT family."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from mtl.utils import brief, read_json, regular_file

__all__ = ["BERT_LIKE", "WEIGHTS", "Tensors", "load_bert_like", "number_in", "weight_files"]

#: Supported values of `model_type`.
BERT_LIKE = ("albert", "bert", "distilbert", "roberta", "xlm-roberta")
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
#: Weight files pickled by PyTorch, which run code when read.
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
#: Prefixes that KerasHub adds to the names within the network.
PREFIXES = ("albert.", "bert.", "distilbert.", "roberta.")
WORDS = "embeddings.word_embeddings.weight"
SEGMENTS = "embeddings.token_type_embeddings.weight"
#: Tensors that an encoder does not use.
UNUSED = ("pooler.",)
#: Prefixes of the names of a network's own weights.
WITHIN = ("embeddings.", "encoder.", "transformer.")
#: Sizes in a configuration and their upper bounds.
SIZES = {
    "vocab_size": 2**24,
    "max_position_embeddings": 2**24,
    "type_vocab_size": 2**16,
    **dict.fromkeys(("hidden_size", "dim", "embedding_size", "intermediate_size", "hidden_dim"), 2**20),
    **dict.fromkeys(("num_hidden_layers", "n_layers", "num_hidden_groups", "inner_group_num"), 1000),
    **dict.fromkeys(("num_attention_heads", "n_heads"), 2**12),
}


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a folder: one, or those listed in an index.

    Raises:
        FileNotFoundError: there are none, or one listed in the index is missing.
        ValueError: the index is damaged, or names a file elsewhere.
    """
    if (folder / WEIGHTS).exists():
        return [regular_file(folder / WEIGHTS)]
    if (folder / INDEX).exists():
        named = read_json(folder / INDEX).get("weight_map")
        names = sorted(set(named.values())) if isinstance(named, dict) and all(isinstance(n, str) for n in named.values()) else []
        if not names or any(name != Path(name).name for name in names):
            raise ValueError(f"Expected '{folder / INDEX}' to name files of its folder; got {brief(named)}.")
        if missing := [name for name in names if not (folder / name).exists()]:
            raise FileNotFoundError(f"'{folder / INDEX}' names {', '.join(missing[:5])}, which the folder lacks. Fetch it again.")
        return [regular_file(folder / name) for name in names]
    pickled = sorted(file.name for pattern in PICKLES for file in folder.glob(pattern))
    old = f" ({pickled[0]} is a pickle, which may run code, and is not read: save the model as safetensors)" if pickled else ""
    raise FileNotFoundError(f"Expected weights in the folder '{folder}'; it has no {WEIGHTS}{old}.")


class Tensors:
    """Tensors of safetensors files, by their names within the network, without any prefix.

    It replaces KerasHub's loader, and is a context manager that closes the files.

    Args:
        files: the files.

    Raises:
        ValueError: a damaged file; no word embeddings, or several networks.
    """

    def __init__(self, files: list[Path]):
        import safetensors

        self._close, self._read = ExitStack(), set[str]()
        self._files: dict[str, Any] = {}
        for path in files:
            try:
                opened = self._close.enter_context(safetensors.safe_open(path, "np"))
            except (safetensors.SafetensorError, OSError) as error:
                raise ValueError(f"'{path}' is damaged: {error}. Fetch it again.") from error
            self._files |= dict.fromkeys(opened.keys(), opened)
        found = [name for name in self._files if name == WORDS or name.endswith(f".{WORDS}")]
        if len(found) != 1:
            got = f"{len(found)}: {', '.join(found[:5])}" if found else f"the tensors {brief(sorted(self._files))}"
            raise ValueError(
                f"Expected one tensor '{WORDS}', whatever stands before its name, in '{files[0].parent}'; got {got}."
            )
        self.prefix = found[0].removesuffix(WORDS)

    def __enter__(self) -> "Tensors":
        return self

    def __exit__(self, *error: Any) -> None:
        self._close.close()

    def _name(self, key: str) -> str:
        """Return the name in the files; old files name the weight and bias of layer norms gamma and beta."""
        within = next((key.removeprefix(prefix) for prefix in PREFIXES if key.startswith(prefix)), key)
        old = within.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        return next((self.prefix + name for name in (within, old) if self.prefix + name in self._files), self.prefix + within)

    def __contains__(self, key: str) -> bool:
        return self._name(key) in self._files

    def get_tensor(self, key: str) -> np.ndarray:
        """Return a tensor, float32.

        Raises:
            KeyError: there is none of that name.
            ValueError: it holds no floats.
        """
        name = self._name(key)
        if name not in self._files:
            raise KeyError(f"the weights lack the tensor '{name}'")
        if (kind := self._files[name].get_slice(name).get_dtype()) not in ("F16", "BF16", "F32", "F64"):
            raise ValueError(f"the tensor '{name}' holds {kind}, not floats: save the model without quantization")
        self._read.add(name)
        return np.asarray(self._files[name].get_tensor(name), np.float32)

    def check_all_read(self) -> None:
        """Check that the network uses all of its weights in the files.

        Raises:
            ValueError: some are not used, such as those of further layers or of relative positions.
        """
        within = tuple(self.prefix + part for part in WITHIN)
        left = [name for name in self._files if name.startswith(within) and name not in self._read]
        for name in left:
            if self._files[name].get_slice(name).get_dtype().startswith(("F", "BF")):  # Others hold position ids.
                raise ValueError(f"the weights hold the tensor '{name}', for which the network of config.json has no place")

    def port_weight(self, keras_variable: Any, hf_weight_key: str, hook_fn: Callable[..., Any] | None = None) -> None:
        """Assign a tensor to a variable; leave it unchanged where an encoder does not use it and the files lack it."""
        if hf_weight_key.startswith(UNUSED) and hf_weight_key not in self:
            return
        tensor, shape = self.get_tensor(hf_weight_key), tuple(keras_variable.shape)
        try:
            value = np.asarray(hook_fn(tensor, list(shape)) if hook_fn else tensor)
        except ValueError:
            value = tensor
        if value.shape != shape:
            name = self._name(hf_weight_key)
            raise ValueError(f"the tensor '{name}' has the shape {tensor.shape}, which config.json does not ask for")
        keras_variable.assign(value)


def load_bert_like(folder: Path, config: dict[str, Any], options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the backbone in a folder, and the folder's activation, epsilon and id of padding.

    Args:
        folder: folder with `config.json` and safetensors files.
        config: contents of `config.json`.
        options: further arguments of the backbone.

    Raises:
        FileNotFoundError: missing weights.
        ValueError: an invalid configuration, invalid weights, or a missing tensor.
    """
    from keras_hub.src.utils.transformers.preset_loader import TransformersPresetLoader

    files = weight_files(folder)
    for key, most in SIZES.items():
        value = config.get(key, 1)
        if type(value) is not int or not 0 <= value <= most:
            raise ValueError(f"Expected {key} in config.json as a whole number up to {most:,}; got {brief(value)}.")
    kind = config["model_type"]
    own = {
        "pad_id": number_in(config, "pad_token_id"),
        "epsilon": number_in(config, "layer_norm_eps"),
        "activation": config.get("hidden_act", config.get("activation")),
    }
    if not isinstance(own["activation"], str | None):
        raise ValueError(f"Expected an activation in config.json as a text; got {brief(own['activation'])}.")
    if config.get("is_decoder"):
        raise ValueError("Expected an encoder, whose tokens see all others; config.json has is_decoder=true, for a decoder.")
    if (positions := config.get("position_embedding_type", "absolute")) != "absolute":
        raise ValueError(f"Expected position_embedding_type='absolute' in config.json; got {brief(positions)}.")
    options = {**options, "dropout": number_in(config, "hidden_dropout_prob", number_in(config, "dropout", 0.1))}
    if kind == "bert":
        options["num_segments"] = config.get("type_vocab_size", 2)
    with Tensors(files) as tensors:
        words = tensors.get_tensor(WORDS).shape
        if len(words) != 2 or words[0] != config.get("vocab_size"):
            raise ValueError(f"config.json names {brief(config.get('vocab_size'))} tokens; the weights have {words}.")
        loader = TransformersPresetLoader(str(folder), config)
        backbone = loader.load_backbone(loader.check_backbone_class(), load_weights=False, **options)
        loader.converter.convert_weights(backbone, tensors, config)
        if kind == "roberta" and SEGMENTS in tensors:  # KerasHub has no layer for one segment: add it to positions.
            positions = backbone.embeddings.position_embedding.position_embeddings
            positions.assign_add(tensors.get_tensor(SEGMENTS)[:1])
        tensors.check_all_read()
    return backbone, own


def number_in(config: dict[str, Any], key: str, default: float | None = None) -> Any:
    """Return a number of at least 0 from a configuration, or None."""
    value = config.get(key, default)
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 2**31):
        return value
    raise ValueError(f"Expected {key} in config.json as a number of at least 0; got {brief(value)}.")
