import keras
import numpy as np
import pytest

from mtl.data.tokenizers.tokenizer import Tokenizer
from mtl.encoders import Recurrent
from mtl.encoders.recurrent import BigramEmbedding, Reverse
from tests.encoders import arithmetic

IDS = np.array([[3, 4, 5, 6, 7], [8, 9, 0, 0, 0], [9, 8, 7, 0, 0]])
MASK = (IDS > 0).astype("int32")
X = {"token_ids": IDS, "padding_mask": MASK}


def numpy_of(layer):
    return [np.array(weight.numpy(), "float64") for weight in layer.weights]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("layers", [1, 2])
def test_equals_the_recurrence_run_row_by_row(cell, layers):
    encoder = Recurrent(vocabulary_size=10, cell=cell, embedding=6, units=4, layers=layers)
    step = getattr(arithmetic, cell)
    for weight in encoder.weights:
        if weight.path.endswith("bias"):
            weight.assign(np.random.default_rng(0).normal(size=weight.shape))
    for row, mask, got in zip(IDS, MASK, encoder(X)["sequence"].numpy(), strict=True):
        x = numpy_of(encoder.token_embedding)[0][row[: mask.sum()]]
        for _, forward, backward in ((i, *encoder.blocks[i + 1]) for i in range(layers)):
            x = np.concatenate([step(x, *numpy_of(forward)), step(x[::-1], *numpy_of(backward))[::-1]], -1)
        np.testing.assert_allclose(got[: len(x)], x, atol=1e-5)
        assert (got[len(x) :] == 0).all()


def test_one_direction_does_not_look_ahead():
    encoder = Recurrent(vocabulary_size=10, units=4, bidirectional=False)
    changed = {**X, "token_ids": np.where(np.arange(5) == 4, 1, IDS)}
    before, after = encoder(X)["sequence"].numpy(), encoder(changed)["sequence"].numpy()
    assert encoder.width == 4
    np.testing.assert_allclose(before[0, :4], after[0, :4], atol=1e-6)
    assert abs(before[0, 4] - after[0, 4]).max() > 1e-4


def test_a_row_of_padding_alone_gives_zeros():
    encoder = Recurrent(vocabulary_size=10, units=4, bigrams=5)
    features = encoder({"token_ids": np.zeros([1, 3], "int32"), "padding_mask": np.zeros([1, 3], "int32")})
    assert not features["sequence"].numpy().any() and not features["pooled"].numpy().any()


def test_dropout_leaves_out_the_same_units_at_all_tokens():
    encoder = Recurrent(vocabulary_size=10, units=32, dropout=0.5)
    dropped = encoder(X, training=True)["sequence"].numpy()[0] == 0
    assert 0.2 < dropped.mean() < 0.8 and (dropped == dropped[:1]).all()
    np.testing.assert_array_equal(encoder(X)["sequence"], encoder(X)["sequence"])


def test_reverse_turns_rows_round_within_their_length():
    turned = Reverse()(IDS[..., None], MASK)
    assert turned.numpy()[..., 0].tolist() == [[7, 6, 5, 4, 3], [9, 8, 0, 0, 0], [7, 8, 9, 0, 0]]


def test_bigrams_take_both_neighbours():
    layer = BigramEmbedding(13, 4)
    layer.build(None)
    table = layer.table.embeddings.numpy()

    def vector(left, right):
        return table[(1_103_515_245 * left + 1_566_083_941 * right) % (2**31 - 1) % 13]

    # Ids plus 1, with 0 at either end.
    got = layer(np.array([[3, 21127, 0, 0]], "int32"), np.array([[1, 1, 0, 0]], "int32"))[0]
    expected = [[*vector(0, 4), *vector(4, 21128)], [*vector(4, 21128), *vector(21128, 0)]]
    np.testing.assert_allclose(got[:2], expected)


def test_the_hash_spreads_pairs_over_the_buckets():
    rng = np.random.default_rng(0)
    ids = rng.integers(1, 5000, (1, 20_001)).astype("int32")
    layer = BigramEmbedding(1000, 2)
    layer.build(None)
    layer.table.embeddings.assign(np.arange(1000, dtype="float32")[:, None])
    counts = np.bincount(layer(ids, np.ones_like(ids)).numpy()[0, 1:, 0].astype(int), minlength=1000)
    # 20,000 balls in 1,000 buckets: mean 20, variance 20.
    assert 15 < counts.var() < 25


def test_word_vectors_by_array():
    matrix = np.random.default_rng(0).normal(size=(10, 3)).astype("float32")
    encoder = Recurrent(vocabulary_size=10, embedding_matrix=matrix, train_embedding=False)
    np.testing.assert_array_equal(encoder.token_embedding.embeddings.value.numpy(), matrix)
    assert encoder.embedding_coverage == 1.0 and encoder.token_embedding.trainable_variables == []
    config = encoder.get_config()
    assert config["embedding"] == 3 and "embedding_matrix" not in config
    again = Recurrent.from_config(config)
    assert again.token_embedding.embeddings.shape == (10, 3) and again.token_embedding.trainable_variables == []


def test_word_vectors_by_file(tmp_path):
    tokenizer = Tokenizer.learn("word", ["the cat sat"])
    file = tmp_path / "vectors.txt"
    file.write_text("cat 1 2 3\nsat 4 5 6\ndog 7 8 9\n")
    encoder = Recurrent(tokenizer, embedding_matrix=file)
    assert encoder.embedding_coverage == 2 / 8
    matrix = encoder.token_embedding.embeddings.value.numpy()
    np.testing.assert_array_equal(matrix[[tokenizer.id("cat"), tokenizer.id("sat")]], [[1, 2, 3], [4, 5, 6]])
    assert matrix[tokenizer.id("the")].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell": "lstn"}, "Unknown cell 'lstn'; did you mean 'lstm'"),
        ({"layers": 0}, "Recurrent expects `layers` as a whole number from 1; got 0"),
        ({"bigrams": 5, "embedding": 3}, "an embedding of even width; got 5 and 3"),
        ({"embedding_matrix": np.zeros([9, 2])}, r"expects an embedding_matrix of shape \(10, D\); got \(9, 2\)"),
        ({"embedding_matrix": "vectors.txt"}, "needs a tokenizer to read embedding_matrix from 'vectors.txt'"),
        ({"pooling": "most"}, "Unknown pooling 'most'"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        Recurrent(vocabulary_size=10, **options)


def test_blocks():
    encoder = Recurrent(vocabulary_size=10, units=4, layers=2, bigrams=5)
    names = [[layer.name for layer in block] for block in encoder.blocks]
    assert names == [["token_embedding", "bigram_embedding"], ["forward_0", "backward_0"], ["forward_1", "backward_1"]]


def test_layers_are_those_that_cudnn_can_run():
    for cell in ("lstm", "gru"):
        encoder = Recurrent(vocabulary_size=10, cell=cell)
        for layer in encoder.blocks[1]:
            assert isinstance(layer, (keras.layers.LSTM, keras.layers.GRU))
            assert layer.use_cudnn == "auto" and not layer.recurrent_dropout and not layer.unroll and layer.use_bias


def test_skipping_puts_the_embeddings_beside_the_outputs():
    encoder = Recurrent(vocabulary_size=10, embedding=3, units=2, skip=True)
    x = {"token_ids": np.array([[4, 7, 0]], "int32"), "padding_mask": np.array([[1, 1, 0]], "int32")}
    sequence = np.asarray(encoder(x)["sequence"])
    embeddings = encoder.token_embedding.get_weights()[0]
    assert sequence.shape == (1, 3, 4 + 3)
    np.testing.assert_array_equal(sequence[0, :2, 4:], embeddings[[4, 7]])
    np.testing.assert_array_equal(sequence[0, 2], 0)
