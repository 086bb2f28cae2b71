import io
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import keras_hub
import numpy as np
import pytest
import sentencepiece
import tensorflow as tf
import tokenizers

from mtl.data.example import split_words
from mtl.data.tokenizers.in_graph.graph_tokenizer import GraphTokenizer
from mtl.data.tokenizers.tokenizer import Tokenizer
from tests.data.texts import MINILM, NASTY

KINDS = ["word", "character", "wordpiece", "bpe"]


def same(
    tokenizer: Tokenizer, texts: Sequence[str] = NASTY, pairs: Sequence[str] | None = None, max_length: int | None = None
) -> None:
    """Asserts that the graph gives what the host gives."""
    seconds = None if pairs is None else tf.constant(pairs)
    batch = {k: v.numpy() for k, v in tokenizer.graph()(tf.constant(texts), seconds, max_length).items()}
    encodings = tokenizer.encode(texts, pairs, max_length)
    longest = max(map(len, encodings))
    assert {value.shape for value in batch.values()} == {(len(texts), longest)}
    assert {value.dtype for value in batch.values()} == {np.dtype("int32")}
    for i, encoding in enumerate(encodings):
        rest = longest - len(encoding)
        expected = {
            "token_ids": [*encoding.token_ids, *[tokenizer.pad_id or 0] * rest],
            "padding_mask": [1] * len(encoding) + [0] * rest,
            "segment_ids": [*encoding.segment_ids, *[0] * rest],
            "starts": [*encoding.offsets[:, 0], *[-1] * rest],
            "ends": [*encoding.offsets[:, 1], *[-1] * rest],
        }
        for name, row in expected.items():
            assert batch[name][i].tolist() == row, (texts[i], name)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("lowercase", "normalize"), [(False, None), (True, "NFC"), (False, "NFKC")])
def test_learned(kind: str, lowercase: bool, normalize: str | None) -> None:
    same(Tokenizer.learn(kind, NASTY * 3, size=500, lowercase=lowercase, normalize=normalize))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cls", [False, True])
def test_unknown_pieces_pairs_and_lengths(kind: str, cls: bool) -> None:
    tokenizer = Tokenizer.learn(kind, ["hello abc 北"], size=300, cls=cls)
    same(tokenizer)
    for max_length in (None, 3, 8, 13):
        same(tokenizer, NASTY, NASTY[::-1], max_length)
    same(tokenizer, NASTY, None, 7)


def test_pretrained() -> None:
    tokenizer = Tokenizer.from_folder(MINILM)
    same(tokenizer)
    same(tokenizer, NASTY, NASTY[3:] + NASTY[:3], 20)
    same(tokenizer, ["", ""])


@pytest.mark.parametrize("lowercase", [False, True])
def test_keras_hub_word_pieces(lowercase: bool) -> None:
    pieces = Tokenizer.learn("wordpiece", NASTY * 3, size=800).vocabulary()
    same(Tokenizer.from_keras_hub(keras_hub.models.BertTokenizer(vocabulary=pieces, lowercase=lowercase)))


def test_byte_pairs_with_a_blank_before_texts() -> None:
    definition = json.loads(Tokenizer.learn("bpe", NASTY * 3, size=500).definition)
    definition["pre_tokenizer"]["add_prefix_space"] = True
    same(Tokenizer(json.dumps(definition)))


@pytest.mark.parametrize("split", [False, True])
def test_unigrams(split: bool) -> None:
    texts = [text for text in NASTY if "x" * 20 not in text and "000" not in text]  # pieces of equal probability may differ
    model = io.BytesIO()
    lines = iter([text for text in texts if text.strip() and "\0" not in text] * 3)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines, model_writer=model, vocab_size=250, hard_vocab_limit=False, minloglevel=9
    )
    source = Tokenizer.from_keras_hub(keras_hub.models.XLMRobertaTokenizer(proto=model.getvalue()))
    definition = json.loads(source.definition)
    definition["pre_tokenizer"]["split"] = split
    definition["normalizer"]["normalizers"][-1]["content"] = "▁" if split else " "
    same(Tokenizer(json.dumps(definition), **source.roles), texts)


def test_words() -> None:
    graph = Tokenizer.learn("word", ["a"]).graph()
    starts, ends = graph.word_spans(tf.constant(NASTY))
    assert starts.dtype == ends.dtype == tf.int32
    for text, row_starts, row_ends in zip(NASTY, starts.to_list(), ends.to_list(), strict=True):
        assert list(zip(row_starts, row_ends, strict=True)) == list(split_words(text))


LOADER = """
import json, sys
import tensorflow as tf, tensorflow_text
assert not any(name.partition(".")[0] in ("mtl", "tokenizers", "keras_hub", "sentencepiece") for name in sys.modules)
loaded = tf.saved_model.load(sys.argv[1])
texts = tf.constant(json.load(open(sys.argv[2])))
result = {kind: {k: v.numpy().tolist() for k, v in rows.items()} for kind, rows in loaded.encode(texts, texts[::-1]).items()}
json.dump({"words": loaded.words(texts)[0].to_list(), **result}, open(sys.argv[3], "w"))
"""


class Served(tf.Module):
    def __init__(self, graphs: dict[str, GraphTokenizer]):
        super().__init__()
        self.graphs = graphs

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)] * 2)
    def encode(self, texts: tf.Tensor, pairs: tf.Tensor) -> dict[str, dict[str, tf.Tensor]]:
        return {kind: graph(texts, pairs, 25) for kind, graph in self.graphs.items()}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def words(self, texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
        return self.graphs["word"].word_spans(texts)


@pytest.mark.slow
def test_saved_and_loaded_without_this_package(tmp_path: Path) -> None:
    made = {kind: Tokenizer.learn(kind, NASTY * 3, size=500, cls=True, lowercase=True, normalize="NFKC") for kind in KINDS}
    tf.saved_model.save(Served({kind: tokenizer.graph() for kind, tokenizer in made.items()}), str(tmp_path / "model"))
    (tmp_path / "texts.json").write_text(json.dumps(NASTY))
    arguments = [str(tmp_path / name) for name in ("model", "texts.json", "out.json")]
    subprocess.run([sys.executable, "-c", LOADER, *arguments], check=True, cwd=tmp_path, capture_output=True)
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["words"] == [[start for start, _ in split_words(text)] for text in NASTY]
    for kind, tokenizer in made.items():
        for i, encoding in enumerate(tokenizer.encode(NASTY, NASTY[::-1], 25)):
            row = {name: values[i][: len(encoding)] for name, values in result[kind].items()}
            assert sum(result[kind]["padding_mask"][i]) == len(encoding)
            assert row["token_ids"] == encoding.token_ids.tolist()
            assert row["segment_ids"] == encoding.segment_ids.tolist()
            assert row["starts"] == encoding.offsets[:, 0].tolist()
            assert row["ends"] == encoding.offsets[:, 1].tolist()


def test_what_has_no_equal() -> None:
    def altered(kind: str, **parts: object) -> Tokenizer:
        definition = json.loads(Tokenizer.learn(kind, ["ab"]).definition)
        definition |= {name: part for name, part in parts.items() if name != "model"}
        definition["model"] |= parts.get("model", {})
        return Tokenizer(json.dumps(definition))

    remedy = r"Tokenize with `Tokenizer.encode`"
    with pytest.raises(ValueError, match=rf"the pre-tokenizer \['Whitespace'\]. {remedy}"):
        altered("word", pre_tokenizer={"type": "Whitespace"}).graph()
    with pytest.raises(ValueError, match=rf"the normalizer Nmt.*{remedy}"):
        altered("word", normalizer={"type": "Nmt"}).graph()
    with pytest.raises(ValueError, match=rf"the normalizer Replace .*{remedy}"):
        altered("word", normalizer={"type": "Replace", "pattern": {"String": "ab"}, "content": "c"}).graph()
    with pytest.raises(ValueError, match=rf"a BPE model with unk_token. {remedy}"):
        altered("bpe", model={"unk_token": "[UNK]"}).graph()
    with pytest.raises(ValueError, match=rf"a BPE model of characters instead of bytes. {remedy}"):
        mark = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
        altered("bpe", pre_tokenizer=mark).graph()
    hub = tokenizers.Tokenizer.from_str(Tokenizer.learn("word", ["ab"]).definition)
    hub.add_tokens(["<url>"])
    with pytest.raises(ValueError, match=rf"added tokens that are not special, such as '<url>'. {remedy}"):
        Tokenizer(hub.to_str()).graph()
    with pytest.raises(ValueError, match="room for 1 special tokens; got 0"):
        Tokenizer.learn("word", ["a"]).graph()(tf.constant(["a"]), tf.constant(["b"]), 0)


@pytest.mark.parametrize(
    ("kind", "pieces", "what"),
    [
        ("Unigram", ["\0"], r"a Unigram piece '\\x00' with a NUL character in it"),
        ("Unigram", ["a", "b\0c"], r"a Unigram piece 'b\\x00c' with a NUL character in it"),
        ("Unigram", [""], "a Unigram piece '' with no character"),
        ("Unigram", ["a", "a"], "a Unigram piece 'a' with another of the same characters"),
        ("WordPiece", ["\0"], r"a WordPiece piece '\\x00' with a NUL character in it"),
        ("WordPiece", ["##b\0"], r"a WordPiece piece '##b\\x00' with a NUL"),
    ],
)
def test_pieces_that_tensorflow_cannot_hold(kind: str, pieces: list[str], what: str) -> None:
    if kind == "Unigram":
        model: tokenizers.models.Model = tokenizers.models.Unigram(
            [("<unk>", -1.0), *((piece, -1.0) for piece in pieces)], 0, False
        )
    else:
        model = tokenizers.models.WordPiece({piece: i for i, piece in enumerate(["<unk>", *pieces])}, unk_token="<unk>")
    hub = tokenizers.Tokenizer(model)
    hub.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    with pytest.raises(ValueError, match=rf"this one has {what}.*Tokenize with `Tokenizer.encode`"):
        Tokenizer(hub.to_str(), pad=None, unknown="<unk>").graph()
