import keras
import numpy as np
import pytest

from mtl.data.tokenizers.tokenizer import Tokenizer
from mtl.encoders.encoder import resolve_vocabulary
from tests.tiny import Bag


def test_properties():
    encoder = Bag(max_length=3)
    assert encoder.width == 6 and not encoder.uses_segments
    assert set(encoder.input_names) == {"token_ids", "padding_mask"}
    assert [[layer.name for layer in block] for block in encoder.blocks] == [["embedding"]]


def test_too_long_a_sequence_is_refused():
    ids = np.ones([1, 4], "int32")
    with pytest.raises(ValueError, match="Bag expects at most max_length=3 tokens; got 4"):
        Bag(max_length=3)({"token_ids": ids, "padding_mask": ids})


def test_an_encoder_without_a_token_embedding_says_so():
    with pytest.raises(AttributeError, match="Bag has no token embedding"):
        super(Bag, Bag()).token_embedding  # noqa: B018


def test_inputs_may_be_symbolic():
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in ("token_ids", "padding_mask")}
    assert Bag()(inputs)["pooled"].shape == (None, 6)


def test_the_vocabulary_is_the_tokenizer_s_or_the_size_given():
    tokenizer = Tokenizer.learn("word", ["a b"])
    assert resolve_vocabulary("E", tokenizer, None) == resolve_vocabulary("E", tokenizer, 7) == (7, 0)
    assert resolve_vocabulary("E", None, 9) == (9, 0)
    with pytest.raises(ValueError, match="E got vocabulary_size=9, and a tokenizer of 7 tokens: leave vocabulary_size out"):
        resolve_vocabulary("E", tokenizer, 9)
    for size in (None, 0, -1):
        with pytest.raises(ValueError, match=f"E expects a tokenizer, or a vocabulary_size above 0; got {size}"):
            resolve_vocabulary("E", None, size)
