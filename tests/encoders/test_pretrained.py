import json

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mtl.data.tokenizers.tokenizer import Tokenizer
from mtl.encoders import Pretrained
from tests.encoders.arithmetic import bert, write_bert

# Keras writes its files from TensorFlow's variables, whose NumPy conversion is older than NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

IDS = np.array([[5, 6, 7, 8, 9], [10, 11, 12, 0, 0]])
MASK = (IDS > 0).astype("int32")
SEGMENTS = np.array([[0, 0, 1, 1, 1], [0, 1, 1, 0, 0]])
SIZES = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 12, "max_sequence_length": 20}
FAMILIES: dict[str, dict] = {
    "RobertaBackbone": {},
    "XLMRobertaBackbone": {},
    "DistilBertBackbone": {},
    "DebertaV3Backbone": {},
    "AlbertBackbone": {"embedding_dim": 4, "num_groups": 2, "num_inner_repetitions": 1},
}


def backbone_of(name, **options):
    import keras_hub

    return getattr(keras_hub.models, name)(vocabulary_size=30, **SIZES, **FAMILIES.get(name, {}), **options)


def inputs_of(encoder, segments=SEGMENTS):
    x = {"token_ids": IDS, "padding_mask": MASK, "segment_ids": segments}
    return {name: x[name] for name in encoder.input_names}


def check(encoder, tensors, config, segments=SEGMENTS, first_position=0, tolerance=1e-4):
    got = encoder(inputs_of(encoder, segments))["sequence"].numpy()
    for row, mask, segment, vectors in zip(IDS, MASK, segments, got, strict=True):
        np.testing.assert_allclose(vectors, bert(tensors, config, row, mask, segment, first_position), atol=tolerance)


def test_minilm_equals_bert_in_numpy(minilm):
    encoder = Pretrained(minilm)
    assert (encoder.width, encoder.max_length, encoder.pad_id, encoder.activation) == (384, 512, 0, "gelu")
    assert encoder.tokenizer == Tokenizer.from_folder(minilm) and len(encoder.blocks) == 7
    tensors, config = load_file(minilm / "model.safetensors"), json.loads((minilm / "config.json").read_text())
    check(encoder, tensors, config)
    config["hidden_act"] = "gelu_new"
    with pytest.raises(AssertionError):  # the tanh form is further off than the tolerance
        check(encoder, tensors, config)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"hidden_act": "gelu_new", "layer_norm_eps": 1e-2},
        {"hidden_act": "relu", "type_vocab_size": 1},
    ],
)
def test_a_folder_s_configuration_is_kept(tmp_path, changes):
    tensors, config = write_bert(tmp_path, **changes)
    segments = np.minimum(SEGMENTS, config["type_vocab_size"] - 1)
    encoder = Pretrained(tmp_path)
    check(encoder, tensors, config, segments)
    again = Pretrained.from_config(encoder.get_config())
    again.set_weights(encoder.get_weights())
    check(again, tensors, config, segments)


def test_dropout_is_the_folder_s(tmp_path):
    write_bert(tmp_path, hidden_dropout_prob=0.35)
    rates = {layer.rate for layer in Pretrained(tmp_path)._flatten_layers() if isinstance(layer, keras.layers.Dropout)}
    assert rates == {0.35}


@pytest.mark.parametrize("kind", ["roberta", "xlm-roberta"])
def test_roberta_with_its_segment_embedding_and_its_id_of_padding(tmp_path, kind):
    changes = {"model_type": kind, "type_vocab_size": 1, "pad_token_id": 1, "layer_norm_eps": 1e-5}
    tensors, config = write_bert(tmp_path, prefix="roberta.", **changes)
    encoder = Pretrained(str(tmp_path))
    assert encoder.max_length == 18 and encoder.pad_id == 1 and not encoder.uses_segments and encoder.tokenizer is None
    check(encoder, tensors, config, np.zeros_like(SEGMENTS), first_position=2)


def test_distilbert(tmp_path):
    tensors, config = write_bert(tmp_path / "bert", type_vocab_size=1)
    tensors["embeddings.token_type_embeddings.weight"][:] = 0
    names = {
        "attention.self.query": "attention.q_lin",
        "attention.self.key": "attention.k_lin",
        "attention.self.value": "attention.v_lin",
        "attention.output.dense": "attention.out_lin",
        "attention.output.LayerNorm": "sa_layer_norm",
        "intermediate.dense": "ffn.lin1",
        "output.dense": "ffn.lin2",
        "output.LayerNorm": "output_layer_norm",
        "encoder.layer": "transformer.layer",
    }
    renamed = {}
    for name, tensor in tensors.items():
        for old, new in names.items():
            name = name.replace(old, new)
        if "pooler" not in name and "token_type" not in name:
            renamed[f"distilbert.{name}"] = tensor
    folder = tmp_path / "distilbert"
    folder.mkdir()
    save_file(renamed, folder / "model.safetensors")
    sizes = {"vocab_size": 30, "n_layers": 2, "n_heads": 2, "dim": 8, "hidden_dim": 12, "max_position_embeddings": 20}
    (folder / "config.json").write_text(
        json.dumps({"model_type": "distilbert", "activation": "gelu", "dropout": 0.1, "pad_token_id": 0, **sizes})
    )
    check(Pretrained(folder), tensors, config, np.zeros_like(SEGMENTS))


@pytest.mark.parametrize("family", FAMILIES)
def test_other_families_as_objects_and_as_keras_hub_folders(tmp_path, family):
    backbone = backbone_of(family)
    encoder = Pretrained(backbone)
    output = backbone(inputs_of(encoder))
    expected = output["sequence_output"] if isinstance(output, dict) else output
    for same in (encoder, _saved(backbone, tmp_path)):
        np.testing.assert_allclose(same(inputs_of(same))["sequence"], expected, atol=1e-6)
    assert encoder.max_length == 20 and len(encoder.blocks) == 3
    assert encoder.token_embedding.embeddings.shape[0] == 30
    in_blocks = {id(layer) for block in encoder.blocks for layer in block}
    assert all(id(layer) in in_blocks for layer in encoder.layers if layer.weights)


def _saved(backbone, folder):
    backbone.save_to_preset(folder)
    return Pretrained(folder)


def test_activation_and_epsilon_may_be_chosen(tmp_path):
    tensors, config = write_bert(tmp_path)
    check(Pretrained(tmp_path, activation="relu", epsilon=0.5), tensors, {**config, "hidden_act": "relu", "layer_norm_eps": 0.5})


def test_a_backbone_without_a_list_of_layers_has_a_block_a_layer():
    backbone = backbone_of("RobertaBackbone")
    del backbone.transformer_layers
    assert len(Pretrained(backbone, pooling="attention").blocks) == 4


def test_the_folder_s_tokenizer_or_the_one_given(tmp_path):
    write_bert(tmp_path, words=["cat", "dog"])
    own = Pretrained(tmp_path).tokenizer
    assert own.encode(["dog cat"])[0].token_ids.tolist() == [2, 6, 5, 3]
    other = Tokenizer.learn("word", ["a b c"])
    assert Pretrained(tmp_path, tokenizer=other).tokenizer == other
    with pytest.raises(ValueError, match="a tokenizer of 45 tokens for a network of 30: they do not belong together"):
        Pretrained(tmp_path, tokenizer=Tokenizer.learn("word", [" ".join(f"w{i}" for i in range(40))]))


def test_max_length_stays_within_the_positions(tmp_path):
    write_bert(tmp_path)
    assert Pretrained(tmp_path, max_length=12).max_length == 12
    with pytest.raises(ValueError, match="a max_length of at most 20, the network's positions; got 21"):
        Pretrained(tmp_path, max_length=21)


def test_what_is_no_preset():
    with pytest.raises(ValueError, match="'bert_base_enn' is neither; did you mean 'bert_base_en'"):
        Pretrained("bert_base_enn")
    with pytest.raises(ValueError, match="'/no/such/folder' is neither"):
        Pretrained("/no/such/folder")
    with pytest.raises(ValueError, match="a folder or a keras_hub Backbone; got int"):
        Pretrained(3)


def test_what_a_folder_lacks(tmp_path):
    with pytest.raises(FileNotFoundError, match="it has no config.json"):
        Pretrained(tmp_path)
    write_bert(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match=r"it has no model.safetensors \(pytorch_model.bin is a pickle, which"):
        Pretrained(tmp_path)


def test_architectures_that_are_not_encoders_of_text(tmp_path):
    write_bert(tmp_path, model_type="xlnet")
    with pytest.raises(ValueError, match=r"KerasHub cannot read the model in '.*' \(model_type 'xlnet'\)"):
        Pretrained(tmp_path)
    with pytest.raises(ValueError, match="BartBackbone takes decoder_padding_mask, .*: choose a BERT-like architecture"):
        Pretrained(backbone_of("BartBackbone"))


def test_an_unknown_activation(tmp_path):
    write_bert(tmp_path, hidden_act="gelu_tanh")
    with pytest.raises(ValueError, match="Unknown activation 'gelu_tanh'; did you mean"):
        Pretrained(tmp_path)
    with pytest.raises(ValueError, match="The activation of DebertaV3Backbone cannot be chosen"):
        Pretrained(backbone_of("DebertaV3Backbone"), activation="relu")
