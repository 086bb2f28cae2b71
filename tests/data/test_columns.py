from types import SimpleNamespace

import numpy as np
import pytest

from mtl.data import Example, Tokenizer
from mtl.data.columns import WORD_MASK, Column, Target, columns_of, encoder_columns, made_from_texts, padded_shape, row_values


def test_targets_have_weights_of_their_own_axes_only_where_one_is_named():
    assert Target().weight_axes == Target((3,)).weight_axes == ()
    assert Target(("words", "words")).weight_axes == ("words", "words")
    assert Target((3,), "float32", (3,)).weight_axes == (3,)
    assert Target(("tokens",)).per_token and not Target(("words",)).per_token


def test_shapes():
    assert padded_shape((), {}) == ()
    assert padded_shape(("words", 2, "words"), {"words": 5}) == (5, 2, 5)


def test_values_of_a_row():
    encoding = Tokenizer.learn("word", ["so very good"]).encode(["so very good"])[0]
    example = Example("so very good", words=((0, 2), (3, 12)))
    assert row_values(WORD_MASK, example, encoding, {}).tolist() == [1, 1, 0]
    assert row_values(Column("mask", ("tokens",)), example, encoding, {"tokens": 3}).tolist() == [1, 1, 1]


def test_all_columns_of_an_encoder_and_heads():
    own = Column("entity", ("words",), "float32")
    encoder = SimpleNamespace(columns=encoder_columns(("token_ids", "padding_mask"), 3))
    heads = [SimpleNamespace(columns=(WORD_MASK,)), SimpleNamespace(columns=(WORD_MASK, own))]
    columns = columns_of(encoder, heads)
    assert list(columns) == ["token_ids", "padding_mask", "word_mask", "entity"]
    assert columns["token_ids"].filler == 3
    ids = np.array([[5, 3]])
    default = columns["padding_mask"].default
    assert default is not None and default({"token_ids": ids}).tolist() == [[True, False]]
    with pytest.raises(ValueError, match="Columns of one name are the same for all"):
        columns_of(encoder, [*heads, SimpleNamespace(columns=(Column("entity", (), "float32"),))])
    with pytest.raises(ValueError, match="an encoder's inputs among .* got 'positions'"):
        encoder_columns(("positions",), 0)


def test_a_column_without_values_marks_what_another_one_measures():
    marks, lengths = Column("marks", ("words",)), Column("lengths", ("words",), values=lambda example, _: [1])
    for column in (marks, Column("marks", ("tokens", "tokens")), Column("marks")):
        with pytest.raises(ValueError, match="A column without values marks one axis.*'marks' has the axes"):
            made_from_texts({"marks": column})
    assert made_from_texts({"marks": marks, "lengths": lengths}) == [lengths]
