import keras
import numpy as np
import pytest
import tensorflow as tf

from mtl import MultiTaskModel, Task
from mtl.balancing import PCGrad, Static
from mtl.data import Tokenizer, mix, records
from mtl.encoders import Recurrent, Transformer
from mtl.heads import Classification, MaskedLM, Tagging
from mtl.sharing import Soft
from mtl.transfer import CachedFeatures, extract, freeze, head_model
from tests.transfer.stack import Stack, make_model

ROWS = [
    {"text": ["so", mood, "a"] + ["day"] * (i % 3), "mood": mood, "tags": ["O", "B-M", "O"] + ["O"] * (i % 3)}
    for i, mood in enumerate(["good", "bad", "grim"] * 6)
]


def tagged_model(crf):
    keras.utils.set_random_seed(4)
    source = records(ROWS, label=["mood", "tags"], fractions=None)
    tokenizer = Tokenizer.learn("word", (" ".join(row["text"]) for row in ROWS))
    encoder = Transformer(tokenizer, width=8, layers=1, heads=2, segments=0, dropout=0.0)
    heads = {"mood": Classification(dropout=0.0), "tags": Tagging(crf=crf, dropout=0.0)}
    return MultiTaskModel(encoder, [Task(name, head, source) for name, head in heads.items()])


def mixed(model):
    return mix(model.tasks, model.encoder, batch_size=5, shuffle=False, buckets=2, cache_dir=None)


@pytest.mark.parametrize("on_disk", [False, True])
def test_heads_on_features_train_as_the_whole_model_with_its_encoder_frozen(tmp_path, on_disk):
    whole, model = tagged_model(not on_disk), tagged_model(not on_disk)
    freeze(whole)
    whole.compile(keras.optimizers.AdamW(0.01, weight_decay=0.1))
    expected = whole.fit(mixed(whole), epochs=2, verbose=0).history
    heads = head_model(model)
    heads.compile(keras.optimizers.AdamW(0.01, weight_decay=0.1))
    cached = extract(model, mixed(model), path=tmp_path / "features" if on_disk else None, shuffle=False)
    history = heads.fit(cached, epochs=2, verbose=0).history
    assert history["mood_loss"][-1] < history["mood_loss"][0]
    for name, values in expected.items():
        np.testing.assert_allclose(history[name], values, rtol=1e-5, atol=1e-6)
    for a, b in zip(whole.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    if not on_disk:
        mine, theirs = (each.predict_text(["so grim a day"]) for each in (model, whole))
        assert mine["mood"][0]["label"] == theirs["mood"][0]["label"] and mine["tags"][0]["tags"] == theirs["tags"][0]["tags"]


def arrays(model=None, batches=4):
    rng = np.random.default_rng(0)
    x = {"token_ids": rng.integers(1, 12, (4 * batches, 5))}
    return tf.data.Dataset.from_tensor_slices((x, {"a": np.arange(4 * batches) % 2})).batch(4)


def test_features_are_the_encoders_and_dropout_is_off():
    model = make_model(dropout=0.5)
    for (x, y), (old, labels) in zip(extract(model, arrays(), shuffle=False), arrays(), strict=True):
        assert sorted(x) == ["padding_mask", "pooled", "token_ids"]  # No head works on tokens.
        expected = model.encoder(model.complete(old), training=False)["pooled"]
        np.testing.assert_allclose(x["pooled"].numpy(), expected.numpy(), atol=1e-6)
        np.testing.assert_array_equal(y["a"], labels["a"])


def test_the_encoder_runs_once(monkeypatch):
    model = make_model()
    seen = []
    dataset = arrays().map(lambda x, y: (tf.py_function(lambda: seen.append(1), [], []), (x, y))[1])
    cached = extract(model, dataset)
    number = len(seen)
    monkeypatch.setattr(Stack, "call", lambda *args, **kwargs: pytest.fail("the encoder ran again"))
    for _ in range(3):
        assert sum(1 for _ in cached) == len(cached) == 4
    assert len(seen) == number == 4


def test_the_order_of_batches_changes_and_their_rows_do_not():
    model = make_model()

    def epochs(**options):
        cached = extract(model, arrays(batches=8), **options)
        return [[tuple(x["token_ids"].numpy().ravel()) for x, _ in cached] for _ in range(2)]

    fixed = epochs(shuffle=False)
    assert fixed[0] == fixed[1]
    first, second = epochs(seed=3)
    assert first != second and sorted(first) == sorted(second) == sorted(fixed[0])
    assert epochs(seed=3) == [first, second] and epochs(seed=4)[0] != first


def test_shapes_that_are_static_stay_static():
    model = make_model()
    cached = extract(model, arrays())
    assert cached.element_spec[0]["pooled"].shape == (4, 4)
    uneven = extract(model, arrays().unbatch().batch(3))
    assert uneven.element_spec[0]["pooled"].shape.as_list() == [None, 4]


def test_the_head_model_is_saved_and_loaded(tmp_path):
    model = make_model()
    heads = head_model(model)
    cached = extract(model, arrays(), shuffle=False)
    heads.save(tmp_path / "heads.keras")
    copy = keras.models.load_model(tmp_path / "heads.keras")
    assert isinstance(copy.encoder, CachedFeatures)
    x = next(iter(cached))[0]
    for task in "ab":
        np.testing.assert_allclose(copy(x)[task].numpy(), heads(x)[task].numpy(), atol=1e-6)
        np.testing.assert_allclose(heads(x)[task].numpy(), model(next(iter(arrays()))[0])[task].numpy(), atol=1e-6)


def test_heads_alone_have_no_gradients_to_balance():
    model = make_model(balancer=PCGrad())
    heads = head_model(model)
    assert isinstance(heads.balancer, Static) and isinstance(model.balancer, PCGrad)
    heads.compile("sgd")
    heads.fit(extract(model, arrays()), verbose=0)
    assert head_model(tagged_model(False)).task_gradients().shared == []


def test_what_cannot_be_kept(tmp_path):
    soft = make_model(Soft(0.1))
    for function in (head_model, lambda model: extract(model, arrays())):
        with pytest.raises(ValueError, match=r"share one encoder, Hard\(\); got Soft"):
            function(soft)
    encoder = Recurrent(Tokenizer.learn("word", ["so good"]), embedding=4, units=4)
    source = records([{"text": "so good"}], label=None, fractions=None)
    with pytest.raises(ValueError, match="The head of task 'mlm' changes its rows' inputs"):
        head_model(MultiTaskModel(encoder, [Task("mlm", MaskedLM(), source), Task("a", Classification(2))]))
    model = make_model()
    with pytest.raises(ValueError, match="repeats for ever"):
        extract(model, arrays().repeat())
    with pytest.raises(ValueError, match="at least one batch; this one is empty"):
        extract(model, arrays().take(0))
    (tmp_path / "old").write_text("x")
    for path in (tmp_path, tmp_path / "old"):
        with pytest.raises(ValueError, match="new or empty; '.*' holds something"):
            extract(model, arrays(), path=path)
    with pytest.raises(ValueError, match="shares the encoder's embeddings cannot be trained on features"):
        _ = head_model(model).encoder.token_embedding
