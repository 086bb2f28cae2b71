import json
import os
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mtl.encoders import Pretrained
from mtl.encoders.hugging_face import weight_files
from tests.encoders.arithmetic import write_bert
from tests.encoders.test_pretrained import SEGMENTS, check

# Keras writes its files from TensorFlow's variables, whose NumPy conversion is older than NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

ROBERTA = {"type_vocab_size": 1, "pad_token_id": 1, "layer_norm_eps": 1e-5}


def save(folder, tensors):
    save_file(tensors, folder / "model.safetensors")
    return tensors


def without(tensors, *parts):
    return {name: tensor for name, tensor in tensors.items() if not any(part in name for part in parts)}


@pytest.mark.parametrize("prefix", ["", "bert.", "model.", "encoder.bert."])
def test_bert_without_a_pooler_under_any_prefix(tmp_path, prefix):
    tensors, config = write_bert(tmp_path, prefix=prefix)
    head = {"cls.predictions.transform.dense.weight": np.ones((8, 8), "float32"), "cls.predictions.bias": np.ones(30, "float32")}
    save(tmp_path, {**without(tensors, "pooler"), **head})
    check(Pretrained(tmp_path), tensors, config)


@pytest.mark.parametrize("kind", ["roberta", "xlm-roberta"])
@pytest.mark.parametrize("prefix", ["", "roberta.", "model."])
def test_roberta_without_a_pooler_under_any_prefix(tmp_path, kind, prefix):
    tensors, config = write_bert(tmp_path, prefix=prefix, model_type=kind, **ROBERTA)
    save(tmp_path, {**without(tensors, "pooler"), "lm_head.bias": np.ones(30, "float32")})
    check(Pretrained(tmp_path), tensors, config, np.zeros_like(SEGMENTS), first_position=2)


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_old_names_of_layer_norms(tmp_path, kind):
    changes = {} if kind == "bert" else {"model_type": kind, **ROBERTA}
    tensors, config = write_bert(tmp_path, **changes)
    save(tmp_path, {n.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): t
                    for n, t in tensors.items()})  # fmt: skip
    segments = SEGMENTS if kind == "bert" else np.zeros_like(SEGMENTS)
    check(Pretrained(tmp_path), tensors, config, segments, first_position=0 if kind == "bert" else 2)


@pytest.mark.parametrize("dtype", ["float16", ml_dtypes.bfloat16, "float64"])
def test_weights_of_other_precision(tmp_path, dtype):
    tensors, config = write_bert(tmp_path, prefix="bert.")
    stored = save(tmp_path, {name: tensor.astype(dtype) for name, tensor in tensors.items()})
    check(Pretrained(tmp_path), {name: tensor.astype("float32") for name, tensor in stored.items()}, config)


def shard(folder, tensors, names=("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")):
    (folder / "model.safetensors").unlink()
    placed = {name: names[i % len(names)] for i, name in enumerate(sorted(tensors))}
    for file in names:
        save_file({name: tensors[name] for name in tensors if placed[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": placed}))


def test_weights_in_several_files(tmp_path):
    tensors, config = write_bert(tmp_path, prefix="roberta.", model_type="roberta", **ROBERTA)
    shard(tmp_path, without(tensors, "pooler"))
    check(Pretrained(tmp_path), tensors, config, np.zeros_like(SEGMENTS), first_position=2)


def test_albert_and_distilbert_without_their_prefix(tmp_path):
    names = {
        "type_vocab_size": 2,
        "embedding_size": 8,
        "num_hidden_groups": 1,
        "inner_group_num": 1,
        "attention_probs_dropout_prob": 0,
    }
    write_bert(tmp_path, model_type="albert", **names)
    with pytest.raises(ValueError, match="the weights lack the tensor 'encoder.embedding_hidden_mapping_in.weight'"):
        Pretrained(tmp_path)
    sizes = {"n_layers": 2, "n_heads": 2, "dim": 8, "hidden_dim": 12, "dropout": 0.1, "activation": "gelu"}
    write_bert(tmp_path, model_type="distilbert", **sizes)
    with pytest.raises(ValueError, match="the weights lack the tensor 'transformer.layer.0.sa_layer_norm.weight'"):
        Pretrained(tmp_path)


@pytest.mark.parametrize(
    "name", ["encoder.layer.1.output.dense.bias", "embeddings.LayerNorm.weight", "embeddings.token_type_embeddings.weight"]
)
def test_what_an_encoder_needs_and_is_missing_is_named(tmp_path, name):
    tensors, _ = write_bert(tmp_path, prefix="bert.")
    save(tmp_path, without(tensors, name))
    with pytest.raises(ValueError, match=f"KerasHub cannot read the model in .*: the weights lack the tensor 'bert.{name}'"):
        Pretrained(tmp_path)


def test_weights_that_cannot_be(tmp_path):
    tensors, _ = write_bert(tmp_path)
    name = "encoder.layer.0.intermediate.dense.weight"
    for changes, message in (
        ({name: np.ones((3, 3), "float32")}, f"the tensor '{name}' has the shape \\(3, 3\\), which config.json"),
        ({name: np.ones((12, 8), "int8")}, f"the tensor '{name}' holds I8, not floats"),
        ({f"other.{'embeddings.word_embeddings.weight'}": np.ones((30, 8), "float32")}, "Expected one tensor .* got 2: "),
    ):
        save(tmp_path, {**tensors, **changes})
        with pytest.raises(ValueError, match=message):
            Pretrained(tmp_path)
    save(tmp_path, without(tensors, "word_embeddings"))
    with pytest.raises(ValueError, match="Expected one tensor 'embeddings.word_embeddings.weight', whatever stands before"):
        Pretrained(tmp_path)
    for content in (b"", b"x" * 100, b"\xff" * 8 + b"{}", (tmp_path / "model.safetensors").read_bytes()[:-100]):
        (tmp_path / "model.safetensors").write_bytes(content)
        with pytest.raises(ValueError, match="model.safetensors' is damaged"):
            Pretrained(tmp_path)


def test_weights_that_the_network_would_leave_aside_are_named(tmp_path):
    """Heads and numbers of positions are left aside; a layer, or what belongs to relative positions, is not."""
    tensors, config = write_bert(tmp_path)
    head = {"cls.predictions.bias": np.zeros(30, "float32"), "embeddings.position_ids": np.arange(20)[None]}
    save_file({**tensors, **head}, tmp_path / "model.safetensors")
    Pretrained(tmp_path)
    for changes, message in (
        ({"num_hidden_layers": 1}, "the weights hold the tensor 'encoder.layer.1.*', for which the network .* has no place"),
        ({"position_embedding_type": "relative_key"}, "Expected position_embedding_type='absolute' .*; got 'relative_key'"),
        ({"is_decoder": True}, "is_decoder=true"),
        ({"model_type": None}, "Expected a model_type in "),
    ):
        (tmp_path / "config.json").write_text(json.dumps({**config, **changes}))
        with pytest.raises(ValueError, match=message):
            Pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    relative = {"encoder.layer.0.attention.self.distance_embedding.weight": np.zeros((39, 4), "float32")}
    save_file({**tensors, **relative}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="the weights hold the tensor '.*distance_embedding.weight'"):
        Pretrained(tmp_path)


def test_pickles_are_not_read(tmp_path):
    write_bert(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    for name in ("pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "model.pt"):
        (tmp_path / name).write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
        with pytest.raises(
            FileNotFoundError, match=f"no model.safetensors \\({name} is a pickle, which may run code, and is not"
        ):
            Pretrained(tmp_path)
        (tmp_path / name).unlink()


def test_an_index_names_files_of_its_folder(tmp_path):
    tensors, _ = write_bert(tmp_path / "model")
    folder = tmp_path / "model"
    (folder / "model.safetensors").rename(tmp_path / "outside.safetensors")
    index = folder / "model.safetensors.index.json"
    elsewhere: list[Any] = [{"a": "../outside.safetensors"}, {"a": str(tmp_path / "outside.safetensors")}, {"a": 1}, [], None, {}]
    for named in elsewhere:
        index.write_text(json.dumps({"weight_map": named}))
        with pytest.raises(ValueError, match="to name files of its folder"):
            weight_files(folder)
    index.write_text(json.dumps({"weight_map": {"a": "gone.safetensors"}}))
    with pytest.raises(FileNotFoundError, match="names gone.safetensors, which the folder lacks"):
        Pretrained(folder)
    os.mkfifo(folder / "model.safetensors")
    with pytest.raises(ValueError, match="which is a pipe"):
        Pretrained(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1, 2]", "Expected a JSON object"),
        ("null", "Expected a JSON object"),
        ("{", "Expected JSON in"),
        ("[" * 100_000, "at most 100 levels"),
        ('{"a":' * 5000 + "1" + "}" * 5000, "at most 100 levels"),
        ('{"model_type": ["bert"]}', r"model_type \['bert'\]"),
        ('{"model_type": {"a": 1}}', "KerasHub cannot read the model"),
        ('{"model_type": "bert"}', "names None tokens; the weights have \\(30, 8\\)"),
    ],
)
def test_configurations_that_are_none(tmp_path, content, message):
    write_bert(tmp_path)
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=message) as caught:
        Pretrained(tmp_path)
    assert len(str(caught.value)) < 600 and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        *({key: value} for key in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
          for value in (None, "2", -1, 2.5, [2], 10**9, 10**400, True)),
        {"hidden_act": ["gelu"]},
        {"layer_norm_eps": "small"},
        {"hidden_dropout_prob": -1},
        {"hidden_dropout_prob": 7},
        {"pad_token_id": [0]},
        {"num_attention_heads": 3},
        {"num_attention_heads": 0},
        {"num_hidden_layers": 5},
        {"max_position_embeddings": 7},
    ],
)  # fmt: skip
def test_settings_that_cannot_be(tmp_path, changes):
    write_bert(tmp_path, prefix="bert.", words=["cat"])
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **changes}))
    with pytest.raises(ValueError) as caught:
        Pretrained(tmp_path)
    assert len(str(caught.value)) < 600 and "\n" not in str(caught.value)


def test_minilm_s_tensors_in_float16_and_two_files(minilm, tmp_path):
    tensors = {name: tensor for name, tensor in load_file(minilm / "model.safetensors").items() if tensor.dtype.kind == "f"}
    (tmp_path / "config.json").write_text((minilm / "config.json").read_text())
    halves = {f"bert.{name}": tensor.astype("float16") for name, tensor in tensors.items() if "pooler" not in name}
    (tmp_path / "model.safetensors").write_bytes(b"")
    shard(tmp_path, halves)
    config = json.loads((minilm / "config.json").read_text())
    check(Pretrained(tmp_path), {name: tensor.astype("float32") for name, tensor in halves.items()}, config)
