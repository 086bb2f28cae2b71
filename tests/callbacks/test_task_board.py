import html
import re
import shutil
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtl import MultiTaskModel, Task
from mtl.balancing import PCGrad, Static, diagnose
from mtl.callbacks import TaskBoard
from mtl.data import Tokenizer, mix
from mtl.data.example import Example
from mtl.data.source import Source
from mtl.heads import Classification, Regression, Tagging
from tests.tiny import Bag
from tests.two_tasks import batch, make_model

MOODS = [Example(f"film {i % 10} {w}", labels={"mood": m}) for i in range(15) for w, m in (("good", "好"), ("bad", "差"))]
PLACES = [Example.from_words(["New", "York", str(i)], labels={"ner": ["B-LOC", "I-LOC", "O"]}) for i in range(8)]
MOOD_OF = {example.text: example.labels["mood"] for example in MOODS}


def source(name, examples, validation):
    splits = {"train": lambda: iter(examples[:-validation]), "validation": lambda: iter(examples[-validation:])}
    return Source(name, splits, (name,))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two epochs of training on two tasks, and what they gave."""
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("runs")
    encoder = Bag(60, tokenizer=Tokenizer.learn("character", [each.text for each in MOODS + PLACES]))
    # One of the tasks is named like the beginning of the other's figures.
    tasks = [
        Task("mood", Classification(["好", "差"], dropout=0.0), source("mood", MOODS, 6)),
        Task("ner", Tagging(dropout=0.0), source("ner", PLACES, 3)),
        Task("ner_rest", Regression(mean=0.0, scale=1.0)),
    ]
    train = mix(tasks[:2], encoder, batch_size=8, cache_dir=None)
    valid = mix(tasks[:2], encoder, "validation", batch_size=4, cache_dir=None)
    model = MultiTaskModel(encoder, tasks, balancer=Static({"ner": 0.5}))
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.PolynomialDecay(0.1, 10, 0.0)))
    board = TaskBoard(folder / "one", update_freq=3, examples=2, sample=4)
    history = model.fit(train, validation_data=valid, epochs=2, callbacks=[board], verbose=0).history
    predicted = model.predict_examples(MOODS[-6:], ["mood"])["mood"]
    return SimpleNamespace(folder=folder, history=history, mixture=train.mixture, model=model, predicted=predicted)


@pytest.fixture(scope="module")
def get(run, tensorboard):
    return tensorboard(run.folder)


def series(get, run, tag):
    """Step -> value of one curve."""
    return {step: value for _, step, value in get("scalars/scalars", run=f"one/{run}", tag=tag).json}


def table(get, tag):
    """The rows of the last table, as TensorBoard shows them."""
    text = get("text/text", run="one/validation", tag=tag).json[-1]["text"]
    return [[html.unescape(cell) for cell in re.findall("<td>(.*?)</td>", row)] for row in text.split("<tr>")[2:]]


def test_losses_and_figures_are_those_of_keras(run, get):
    # 24 + 5 rows in batches of 8 are 4 steps an epoch; every third step of the whole training is written too, for tasks that
    # have had a row in the epoch.
    assert list(series(get, "train", "loss")) == [3, 4, 6, 8]
    for tag, name in {"loss": "loss", "mood/loss": "mood_loss", "ner/span_f1": "ner_span_f1"}.items():
        train, validation = series(get, "train", tag), series(get, "validation", tag)
        assert set(train) <= {3, 4, 6, 8} and list(validation) == [4, 8]
        assert [train[4], train[8]] == pytest.approx(run.history[name], rel=1e-6)
        assert [validation[4], validation[8]] == pytest.approx(run.history[f"val_{name}"], rel=1e-6)


def test_tags_are_grouped_by_task_and_unlabelled_tasks_left_out(get):
    tags = get("scalars/tags").json
    figures = {"loss", "mood/loss", "mood/accuracy", "mood/macro_f1", "mood/macro_precision", "mood/macro_recall", "mood/mcc"}
    figures |= {"ner/loss", "ner/accuracy", "ner/span_f1", "ner/span_precision", "ner/span_recall"}
    more = {f"balancer/weight/{task}" for task in ("mood", "ner", "ner_rest")} | {"learning_rate", "padding"}
    more |= {f"sampling/{task}" for task in ("mood", "ner", "ner_rest")}
    assert set(tags) == {"one/train", "one/validation"}
    assert set(tags["one/validation"]) == figures
    assert set(tags["one/train"]) == figures | more


def test_settings(get):
    rates = series(get, "train", "learning_rate")
    assert rates == pytest.approx({step: 0.1 * (1 - step / 10) for step in (3, 4, 6, 8)})
    assert set(series(get, "train", "balancer/weight/ner").values()) == {0.5}
    assert set(series(get, "train", "balancer/weight/mood").values()) == {1.0}


def test_shares_are_those_of_the_mixture(run, get):
    for epoch, step in enumerate((4, 8)):
        realised = run.mixture.realised(epoch)
        assert realised["rows"] == {"mood": 24, "ner": 5}
        assert series(get, "train", "sampling/mood")[step] == pytest.approx(24 / 29)
        assert series(get, "train", "sampling/ner")[step] == pytest.approx(5 / 29)
        assert series(get, "train", "sampling/ner_rest")[step] == 0.0
        assert series(get, "train", "padding")[step] == pytest.approx(realised["padding"], abs=1e-6)


def test_examples_stand_beside_their_labels(run, get):
    rows = table(get, "examples")
    expected = [[each.text, "mood", f"{p['label']} ({p['probability']:.0%})", each.labels["mood"]]
                for each, p in zip(MOODS[-6:-4], run.predicted[:2], strict=True)]  # fmt: skip
    assert rows[:2] == expected
    assert [(text, task, gold) for text, task, _, gold in rows[2:]] == [(e.text, "ner", "LOC: New York") for e in PLACES[-3:-1]]


def test_pictures(get):
    assert set(get("images/tags").json["one/validation"]) == {"mood/confusion", "ner/confusion"}
    images = get("images/images", run="one/validation", tag="mood/confusion", sample=0).json
    assert [each["step"] for each in images] == [4, 8]
    key = images[0]["query"].removeprefix("blob_key=")
    assert get("images/individualImage", blob_key=key).data.startswith(b"\x89PNG")


def test_labels_that_no_font_has_stand_in_a_table(get):
    from mtl.utils.matrix_image import drawable

    shown = "mood/confusion_labels" in get("text/tags").json["one/validation"]
    assert shown == (not drawable(["好", "差"]))
    if shown:
        assert table(get, "mood/confusion_labels") == [["0", "好"], ["1", "差"]]


def test_the_projector_shows_validation_examples(run, get):
    assert get("projector/runs").json == ["one/validation"]
    lines = get("projector/metadata", run="one/validation", name="pooled").text.splitlines()
    assert lines[0] == "text\tmood\tner" and len(lines) == 8  # Four of the six moods, and three places.
    cells = [line.split("\t") for line in lines[1:]]
    assert all(mood == MOOD_OF[text] for text, mood, _ in cells[:4])
    assert cells[4:] == [[each.text, "", "LOC: New York"] for each in PLACES[-3:]]
    tensor = np.frombuffer(get("projector/tensor", run="one/validation", name="pooled").data, "float32").reshape(7, -1)
    embedding = run.model.encoder.embedding.get_weights()[0]
    ids = run.model.encoder.tokenizer.encode([cells[0][0]])[0].token_ids
    np.testing.assert_allclose(tensor[0], embedding[ids].mean(axis=0), rtol=1e-4, atol=1e-6)


# Other ways of training -------------------------------------------------------------------------------------------

X, Y = np.arange(1, 9, dtype="int32").reshape(4, 2), np.array([0, 1, 0, 1], "int32")


def plain(optimizer="sgd", tokenizer=None):
    model = MultiTaskModel(Bag(40, tokenizer=tokenizer), Task("mood", Classification(2, dropout=0.0)))
    model.compile(optimizer)
    return model


def test_arrays_need_neither_tokenizer_nor_validation(tmp_path, tensorboard):
    model = plain()
    for _ in range(2):  # A second training goes on where the first ended.
        model.fit(X, Y, batch_size=2, verbose=0, callbacks=[TaskBoard(tmp_path / "one")])
    get = tensorboard(tmp_path)
    assert list(series(get, "train", "mood/loss")) == [2, 4]
    assert set(get("scalars/tags").json) == {"one/train"}
    logs = model.evaluate(X, Y, verbose=0, callbacks=[TaskBoard(tmp_path / "one")], return_dict=True)
    assert series(tensorboard(tmp_path), "validation", "mood/loss") == pytest.approx({4: logs["mood_loss"]})


def test_pictures_and_tables_every_few_epochs(tmp_path, tensorboard):
    board = TaskBoard(tmp_path / "one", examples=["good", ("a", "b"), Example("x", labels={"mood": 1})], every=2)
    model = plain(tokenizer=Tokenizer.learn("character", ["good"]))
    model.fit(X, Y, validation_data=(X, Y), epochs=3, batch_size=4, verbose=0, callbacks=[board])
    get = tensorboard(tmp_path)
    images = get("images/images", run="one/validation", tag="mood/confusion", sample=0).json
    assert [each["step"] for each in images] == [2]
    assert [[text, task, gold] for text, task, _, gold in table(get, "examples")] == [
        ["good", "mood", ""],
        ["a / b", "mood", ""],
        ["x", "mood", "1"],
    ]


def test_learning_rates_of_several_optimizers(tmp_path, tensorboard):
    fast, slow = keras.optimizers.SGD(0.5, name="fast"), keras.optimizers.SGD(0.25, name="slow")
    chosen = keras.optimizers.OptimizerMap(slow, {".*embedding.*": fast})
    model = plain(keras.optimizers.MultiOptimizer(chosen))
    model.fit(X, Y, verbose=0, callbacks=[TaskBoard(tmp_path / "one")])
    get = tensorboard(tmp_path)
    assert series(get, "train", "learning_rate/fast") == {1: 0.5}
    assert series(get, "train", "learning_rate/slow") == {1: 0.25}


def test_steps_are_batches_where_gradients_are_accumulated(tmp_path, tensorboard):
    model = plain(keras.optimizers.Adam(0.1, gradient_accumulation_steps=2))
    model.fit(X, Y, batch_size=1, epochs=2, verbose=0, callbacks=[TaskBoard(tmp_path / "one", update_freq=1)])
    steps = list(range(1, 2 * len(X) + 1))
    assert list(series(tensorboard(tmp_path), "train", "mood/loss")) == steps


def test_a_full_disk_ends_the_training(tmp_path, monkeypatch):
    x, y, weight = batch(8)
    model = make_model(keras.optimizers.Adam(0.1))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    with pytest.raises(OSError, match="The disk is full, and points for TensorBoard are lost; free some space.*logs"):
        model.fit(x, y, sample_weight=weight, verbose=0, callbacks=[TaskBoard(tmp_path / "logs", examples=0, sample=0)])


def test_only_the_chief_writes(tmp_path, monkeypatch):
    model = plain(tokenizer=Tokenizer.learn("character", ["good"]))
    monkeypatch.setattr(type(model.distribute_strategy.extended), "should_save_summary", False)
    model.fit(X, Y, validation_data=(X, Y), verbose=0, callbacks=[TaskBoard(tmp_path / "one", examples=["a"])])
    assert not (tmp_path / "one").exists()


def test_errors(tmp_path):
    with pytest.raises(ValueError, match="`update_freq` as 'epoch' or a whole number from 1; got 'batch'"):
        TaskBoard(tmp_path, update_freq="batch")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`every` as a whole number from 1; got 0"):
        TaskBoard(tmp_path, every=0)
    with pytest.raises(ValueError, match="`examples` as a whole number from 0 or a list .* got 'one text'"):
        TaskBoard(tmp_path, examples="one text")
    with pytest.raises(ValueError, match="the encoder has no tokenizer"):
        plain().fit(X, Y, verbose=0, callbacks=[TaskBoard(tmp_path, examples=["a"])])
    other = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    with pytest.raises(TypeError, match="expects a mtl.MultiTaskModel; got Sequential"):
        TaskBoard(tmp_path).set_model(other)


def test_what_stands_between_the_tasks_gradients(tmp_path):
    """One batch an epoch, so that the means are of one step: gradients by `diagnose`, which has no part in the training step."""
    model = make_model(keras.optimizers.SGD(0.0), PCGrad())
    data = batch(mood=[1, 1, 1, 0, 0, 1, 1, 1])
    found = diagnose(model, [data])
    x, y, weight = data
    board = TaskBoard(tmp_path, sample=0)
    model.fit(x, y, sample_weight=weight, validation_data=data, batch_size=8, callbacks=[board], verbose=0)
    (file,) = (tmp_path / "train").iterdir()
    scalars, images = {}, []
    for record in tf.data.TFRecordDataset(str(file)):
        for value in tf.compat.v1.Event.FromString(record.numpy()).summary.value:
            if value.tag == "gradients/cosines":
                images.append(tf.make_ndarray(value.tensor))
            elif value.tag.startswith("gradients/"):
                scalars[value.tag.removeprefix("gradients/")] = float(tf.make_ndarray(value.tensor))
    assert set(scalars) == {"conflicting", *(f"{kind}/{task}" for kind in ("norm", "update") for task in ("mood", "score"))}
    assert len(images) == 1
    for i, task in enumerate(model.task_names):
        assert scalars[f"norm/{task}"] == pytest.approx(found.norms[i], rel=1e-4)
        assert scalars[f"update/{task}"] == pytest.approx(found.update[i], abs=1e-4)
    assert scalars["conflicting"] == found.conflicting[0, 1]


def test_losses_alone_say_nothing_of_gradients(tmp_path):
    x, y, weight = batch()
    make_model("sgd").fit(x, y, sample_weight=weight, callbacks=[TaskBoard(tmp_path, sample=0)], verbose=0)
    (file,) = (tmp_path / "train").iterdir()
    assert b"gradients/" not in file.read_bytes()


def test_what_was_written_after_a_state_is_cut_off(run, tmp_path):
    """An earlier run's file stays, and so do others' files; the point of step 1 is the last."""
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "events.out.tfevents.1.earlier").write_bytes(b"earlier")
    (tmp_path / "train" / "notes.txt").write_bytes(b"notes")

    def board():
        board = TaskBoard(tmp_path, examples=0, sample=0)
        board.set_model(run.model)
        board.on_train_begin()
        return board

    first = board()
    first._scalars("train", {"loss": 1.0}, 1)
    state = first.state()
    before = {path.name: path.read_bytes() for path in (tmp_path / "train").iterdir()}
    first._scalars("train", {"loss": 2.0}, 2)
    first._scalars("validation", {"loss": 3.0}, 2)
    first._close()
    later = board()
    later._scalars("train", {"loss": 9.0}, 3)
    later._close()
    (others,) = later._event_files()
    of_another_training = others.read_bytes()
    assert before != {path.name: path.read_bytes() for path in (tmp_path / "train").iterdir()}
    second = board()
    second.restore(state)
    assert others.read_bytes() == of_another_training
    others.unlink()
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "train").iterdir()}
    assert not list((tmp_path / "validation").iterdir())
    second._close()
    (name,) = (name for name in state["sizes"] if "earlier" not in name)
    for damage in (lambda path: path.write_bytes(b""), lambda path: path.unlink()):
        damage(tmp_path / name)
        with pytest.raises(ValueError, match="points until here were in '.*events.out.tfevents.*', which is gone or cut"):
            board().restore(state)
