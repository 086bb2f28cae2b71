import shutil
import subprocess
import sys
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtl
from mtl import MultiTaskModel, Task
from mtl.baselines import compare
from mtl.data import Example, Tokenizer, mix, records
from mtl.encoders import Recurrent
from mtl.heads import Classification, MaskedLM, Regression, Tagging
from mtl.sharing import Soft
from tests.tiny import Bag

CITIES = ["Paris", "Rome", "Oslo", "Lima", "Bonn", "Graz"]


def sentences(number=120, seed=0):
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(number):
        city, good = CITIES[rng.integers(len(CITIES))], bool(rng.integers(2))
        words = ["I", "like" if good else "hate", city, str(i)]
        rows.append({"text": words, "mood": "up" if good else "down", "place": ["O", "O", "B-LOC", "O"], "size": len(city)})
    return rows


def make_tasks():
    source = records(sentences(), label=["mood", "place", "size"])
    return [
        Task("mood", Classification(), source),
        Task("place", Tagging(), source),
        Task("size", Regression(), source),
        Task("mlm", MaskedLM(), source),
    ]


def make_model(sharing=None):
    keras.utils.set_random_seed(3)
    tasks = make_tasks()
    tokenizer = Tokenizer.learn("word", (example.text for example in tasks[0].sources[0].examples("train")))
    model = MultiTaskModel(Recurrent(tokenizer, embedding=16, units=16, pooling="mean"), tasks, sharing)
    model.compile(keras.optimizers.Adam(0.02))
    return model


@pytest.fixture(scope="module")
def trained():
    model = make_model()
    train = mix(model.tasks, model.encoder, batch_size=32, cache_dir=None)
    validation = mix(model.tasks, model.encoder, "validation", cache_dir=None)
    history = model.fit(train, validation_data=validation, epochs=8, verbose=0)
    return model, history.history


TEXTS = ["I like Oslo", "I hate Lima 3", "", "Bonn"]


def test_it_learns_every_task(trained):
    model, history = trained
    assert history["val_mood_accuracy"][-1] == 1.0
    assert history["val_place_span_f1"][-1] == 1.0
    assert history["mlm_loss"][-1] < history["mlm_loss"][0]
    report = model.report("test")
    assert sorted(report) == ["mood", "place", "size"]
    assert report["mood"]["accuracy"] == 1.0 and report["place"]["span_f1"] == 1.0 and report["size"]["pearson"] > 0.9
    assert report["mood"]["examples"] == sum(1 for _ in model.tasks[0].labelled("test"))


def test_a_report_on_a_sample_takes_the_examples_of_the_baselines():
    rows = [{"text": f"{word} {n}", "mood": word} for n in range(20) for word in ("up", "down")]
    task = Task("mood", Classification(), records({"train": rows, "test": rows}, label="mood"))
    model = MultiTaskModel(Bag(tokenizer=Tokenizer.learn("word", ["up down"])), task)
    model.heads["mood"].set_weights(
        [weight * 0 for weight in model.heads["mood"].get_weights()]
    )  # Always the first label, "down".
    shares = {seed: compare(task, ["majority"], limit=7, seed=seed)["majority"]["metrics"]["accuracy"] for seed in range(6)}
    assert len(set(shares.values())) > 1  # The majority is "down" too, the first of two that are equal; each seed draws others.
    for seed, share in shares.items():
        scores = model.report(limit=7, seed=seed)["mood"]
        assert scores["examples"] == 7 and scores["accuracy"] == pytest.approx(share)
    with pytest.raises(ValueError, match="Unknown split 'validation'.*Known: test, train"):
        model.report("validation")


def test_predictions_on_texts(trained):
    model, _ = trained
    result = model.predict_text(TEXTS)
    assert sorted(result) == ["mood", "place", "size"]
    assert [each["label"] for each in result["mood"]][:2] == ["up", "down"]
    assert [span["text"] for span in result["place"][0]["spans"]] == ["Oslo"]
    assert result["size"][0]["value"] == pytest.approx(4, abs=0.5)
    alone = [model.predict_text([text]) for text in TEXTS]
    for i, each in enumerate(alone):
        assert each["mood"][0]["probability"] == pytest.approx(result["mood"][i]["probability"], abs=1e-5)
        assert each["place"][0]["tags"] == result["place"][i]["tags"]
    assert model.predict_text("I like Oslo")["mood"][0]["label"] == "up"
    assert model.predict_text([])["mood"] == []
    with pytest.raises(TypeError, match="predict_text expects a text, or a list of texts; got int"):
        model.predict_text(5)


def test_words_given_are_kept(trained):
    model, _ = trained
    words = model.predict_text([["I", "like", "Oslo"]])["place"][0]
    assert words["words"] == ["I", "like", "Oslo"] and words["tags"] == ["O", "O", "B-LOC"]
    same = model.predict_examples([Example.from_words(["I", "like", "Oslo"])])["place"][0]
    assert same == words


def test_only_the_tasks_asked_for_do_work(trained):
    model, _ = trained
    calls = []
    head = model.heads["place"]
    activate = head.activate

    def counted(*args):
        calls.append(1)
        return activate(*args)

    head.activate = counted
    try:
        model._functions._made.clear()
        assert list(model.predict_text(TEXTS, tasks=["mood"])) == ["mood"]
        assert not calls
        model.predict_text(TEXTS, tasks=["mood", "place"])
        assert calls
    finally:
        head.activate = activate
        model._functions._made.clear()


def test_several_threads_predict_what_one_does(trained):
    model, _ = trained
    model._functions._made.clear()
    texts = [f"I {'like' if i % 2 else 'hate'} {CITIES[i % 6]}" for i in range(40)]
    expected = model.predict_text(texts)
    model._functions._made.clear()
    results = {}
    threads = [threading.Thread(target=lambda i=i: results.update({i: model.predict_text(texts)})) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results.values():
        assert [each["label"] for each in result["mood"]] == [each["label"] for each in expected["mood"]]
        assert [each["tags"] for each in result["place"]] == [each["tags"] for each in expected["place"]]
    assert len(results) == 6


def test_a_subset_predicts_the_same_and_is_its_own(trained):
    model, _ = trained
    part = model.subset(["place"])
    assert part.task_names == ("place",) and part.count_params() < model.count_params()
    assert part.predict_text(TEXTS)["place"] == model.predict_text(TEXTS, tasks=["place"])["place"]
    before = model.predict_text(TEXTS)
    part.compile("sgd")
    part.fit(mix(part.tasks, part.encoder, batch_size=32, cache_dir=None), verbose=0)
    assert model.predict_text(TEXTS) == before


def test_a_task_can_be_added(trained):
    model, _ = trained
    rows = [{"text": " ".join(row["text"]), "long": "yes" if row["size"] > 4 else "no"} for row in sentences(30, 5)]
    more = model.add_task(Task("long", Classification(), records(rows, label="long")))
    before, after = model.predict_text(TEXTS), more.predict_text(TEXTS)
    assert {name: after[name] for name in before} == before
    assert len(after["long"]) == len(TEXTS)
    with pytest.raises(ValueError, match="different names; got 'mood' twice"):
        model.add_task(Task("mood", Classification(2)))


PREDICT = """
import sys, json, keras, mtl
model = keras.models.load_model(sys.argv[1])
print(json.dumps([model.predict_text(json.loads(sys.argv[2])), int(model.optimizer.iterations), model.heads["mood"].labels]))
"""


@pytest.mark.parametrize("sharing", [None, Soft(0.01)], ids=["hard", "soft"])
def test_a_fresh_process_loads_all_there_is(tmp_path, sharing):
    import json

    model = make_model(sharing)
    train = mix(model.tasks, model.encoder, batch_size=32, cache_dir=None)
    model.fit(train, verbose=0)
    model.save(tmp_path / "model.keras")
    command = [sys.executable, "-c", PREDICT, str(tmp_path / "model.keras"), json.dumps(TEXTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    predicted, iterations, labels = json.loads(done.stdout.strip().splitlines()[-1])
    assert labels == ["down", "up"] and iterations == len(train)
    for task, rows in model.predict_text(TEXTS).items():
        for mine, theirs in zip(rows, predicted[task], strict=True):
            for key, value in mine.items():
                if isinstance(value, float):
                    assert theirs[key] == pytest.approx(value, abs=1e-6)
                elif key in ("label", "tags", "words"):
                    assert theirs[key] == value


def test_training_goes_on_after_loading(tmp_path):
    model = make_model()
    model.fit(mix(model.tasks, model.encoder, batch_size=32, cache_dir=None), verbose=0)
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    for a, b in zip(model.optimizer.variables, copy.optimizer.variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    x = {"token_ids": np.full((4, 5), 7, "int32")}
    y = {"mood": np.array([0, 1, 0, 1])}
    drop = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.Dropout)]
    for each in (model, copy):
        for layer in each._flatten_layers():
            if isinstance(layer, keras.layers.Dropout):
                layer.rate = 0.0
        each.fit(x, y, verbose=0)
    assert drop
    for a, b in zip(model.get_weights(), copy.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_the_plain_keras_way():
    tasks = [Task("sentiment", Classification(2)), Task("topic", Classification(10))]
    model = MultiTaskModel(Recurrent(vocabulary_size=40, bidirectional=False, embedding=8, units=8), tasks)
    model.compile("adam")
    rng = np.random.default_rng(0)
    x = rng.integers(1, 40, (24, 7))
    sentiment, topic = rng.integers(0, 2, 24), rng.integers(0, 10, 24)
    sparse = model.fit({"token_ids": x}, {"sentiment": sentiment, "topic": topic}, epochs=2, verbose=0, validation_split=0.25)
    assert {"loss", "sentiment_loss", "topic_accuracy", "val_topic_loss"} <= set(sparse.history)
    one_hot = {"sentiment": np.eye(2)[sentiment], "topic": np.eye(10)[topic]}
    logs = model.evaluate(x, one_hot, verbose=0, return_dict=True)
    again = model.evaluate({"token_ids": x}, {"sentiment": sentiment, "topic": topic}, verbose=0, return_dict=True)
    assert logs == pytest.approx(again, rel=1e-5)
    predicted = model.predict(x, verbose=0)
    assert predicted["topic"].shape == (24, 10)
    np.testing.assert_allclose(predicted["topic"].sum(-1), 1, atol=1e-5)
    with pytest.raises(ValueError, match="expects an encoder that has a tokenizer"):
        model.predict_text(["hello"])


def test_adding_a_task_leaves_the_model_as_it_was():
    model = make_model()
    x, y = {"token_ids": np.full((4, 5), 7, "int32")}, {"mood": np.array([0, 1, 0, 1])}
    before = model.evaluate(x, y, verbose=0, return_dict=True)["loss"]
    model.add_task(Task("new", Classification(2)))
    assert model.evaluate(x, y, verbose=0, return_dict=True)["loss"] == pytest.approx(before)
    assert model.fit(x, y, verbose=0).history["mood_loss"][0] > 0
    assert "new" not in model.balancer.current_weights()


ADD = """
import sys, keras, mtl
model = keras.models.load_model(sys.argv[1])
more = model.add_task(mtl.Task("new", mtl.heads.Classification(3)))
print(sorted(more.predict_text(["I like Oslo"])))
"""


def test_a_task_can_be_added_in_a_fresh_process(tmp_path):
    model = MultiTaskModel(make_model().encoder, [Task("mood", Classification(2))])
    model.save(tmp_path / "model.keras")
    command = [sys.executable, "-c", ADD, str(tmp_path / "model.keras")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "['mood', 'new']"


def test_training_and_validation_losses_are_one_quantity():
    model = make_model()
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    model.compile(keras.optimizers.SGD(0.0))
    rows = mix(model.tasks[:3], model.encoder, batch_size=4, mixed=False, cache_dir=None)
    trained = model.fit(rows, validation_data=rows, verbose=0).history
    assert trained["loss"][0] == pytest.approx(trained["val_loss"][0], rel=1e-4)


def test_one_pair_is_one_text(trained):
    model, _ = trained
    assert len(model.predict_text(("I like Oslo", "I hate Lima"))["mood"]) == 1


def test_summary_and_graph(capsys):
    model = make_model()
    model.summary()
    printed = capsys.readouterr().out
    assert "mood_prediction" in printed and "recurrent" in printed
    graph = keras.utils.model_to_dot(model, show_layer_names=True)
    edges = {(edge.get_source(), edge.get_destination()) for edge in graph.get_edges()}

    def node(layer):
        [name] = [each.get_name() for each in graph.get_nodes() if f"<b>{layer.name}</b>" in (each.get_label() or "")]
        return name

    for task in ("mood", "place", "size"):
        assert (node(model.encoder), node(model.heads[task])) in edges


@pytest.mark.skipif(shutil.which("dot") is None, reason="needs the program dot: apt-get install graphviz")
def test_plot(tmp_path):
    keras.utils.plot_model(make_model(), tmp_path / "model.png", show_shapes=True)
    assert (tmp_path / "model.png").read_bytes().startswith(b"\x89PNG")


def test_bad_arguments():
    encoder = Recurrent(vocabulary_size=10, embedding=4, units=4)
    with pytest.raises(ValueError, match="at least one task"):
        MultiTaskModel(encoder, [])
    with pytest.raises(ValueError, match="different names; got 'a' twice"):
        MultiTaskModel(encoder, [Task("a", Classification(2)), Task("a", Classification(3))])
    model = make_model()
    with pytest.raises(ValueError, match="Unknown task 'mod'; did you mean 'mood'"):
        model.predict_text(["x"], tasks=["mod"])
    with pytest.raises(ValueError, match="'mlm' serves training only"):
        model.predict_text(["x"], tasks=["mlm"])
    with pytest.raises(ValueError, match="At least one|at least one"):
        model.predict_text(["x"], tasks=[])
    with pytest.raises(ValueError, match="`batch_size` as a whole number from 1; got 0"):
        model.predict_text(["x"], batch_size=0)


def test_a_head_serves_one_task():
    head = mtl.heads.Classification(2)
    with pytest.raises(ValueError, match="Each task needs a head of its own; that of 'a' is another task's too"):
        mtl.MultiTaskModel(mtl.encoders.Recurrent(vocabulary_size=9, units=2), [mtl.Task("a", head), mtl.Task("b", head)])


def test_an_input_that_no_model_takes_is_an_error():
    model = mtl.MultiTaskModel(mtl.encoders.Recurrent(vocabulary_size=9, units=2), mtl.Task("a", mtl.heads.Classification(2)))
    ids = np.ones((1, 2), "int32")
    assert "a" in model({"token_ids": ids, "segment_ids": ids})  # Known, though this encoder has no use for it.
    with pytest.raises(ValueError, match="Unknown input 'paddin_mask'; did you mean 'padding_mask'"):
        model({"token_ids": ids, "paddin_mask": ids})


def test_fit_takes_arguments_in_keras_order():
    model = mtl.MultiTaskModel(mtl.encoders.Recurrent(vocabulary_size=9, units=2), mtl.Task("a", mtl.heads.Classification(2)))
    model.compile("sgd")
    model.fit(np.ones((6, 2), "int32"), np.zeros(6, "int32"), 2, 1, 0)
    assert int(model.optimizer.iterations) == 3


def test_data_may_be_mixed_before_the_model_is_made():
    tasks = make_tasks()
    tokenizer = Tokenizer.learn("word", (example.text for example in tasks[0].sources[0].examples("train")))
    encoder = Recurrent(tokenizer, embedding=4, units=4)
    train = mix(tasks, encoder, batch_size=32, cache_dir=None)
    model = MultiTaskModel(encoder, tasks, Soft(0.1))
    model.compile("sgd")
    assert np.isfinite(model.fit(train, verbose=0).history["mlm_loss"]).all()


def test_a_model_for_training_only_predicts_nothing():
    tokenizer = Tokenizer.learn("word", ["so good"])
    model = MultiTaskModel(Recurrent(tokenizer, embedding=4, units=4), Task("mlm", MaskedLM()))
    with pytest.raises(ValueError, match="Expected a task that predicts; those of the model, .'mlm'., serve training only"):
        model.predict_text(["so good"])


def test_public_names():
    assert mtl.MultiTaskModel is MultiTaskModel and mtl.Task is Task


def test_a_head_is_a_layer_by_its_task() -> None:
    model = make_model()
    assert all(model.get_layer(name) is head for name, head in model.heads.items())
    layer = model.layers[0]
    assert model.get_layer(layer.name) is layer and model.get_layer(index=0) is layer
    with pytest.raises(ValueError, match="No such layer: moood"):
        model.get_layer("moood")


def test_keras_exports_token_ids_in_and_predictions_out(tmp_path) -> None:
    tasks = [Task("mood", Classification(2)), Task("names", Tagging(["O", "B-X", "I-X"])), Task("pos", Tagging(3))]
    model = MultiTaskModel(Recurrent(vocabulary_size=9, embedding=4, units=4), tasks)
    model.export(tmp_path / "ids", verbose=False)
    served = tf.saved_model.load(tmp_path / "ids")
    inputs = {tensor.name: np.ones((2, 5), "int32") for tensor in model.inputs}
    expected = model.predict(inputs, verbose=0)
    for found in (served.serve(inputs), served.signatures["serving_default"](**inputs)):
        assert set(found) == {"mood", "names/tags", "names/probability", "pos"}
        for name, value in found.items():
            task, _, part = name.partition("/")
            np.testing.assert_allclose(value, expected[task][part] if part else expected[task], rtol=1e-5, atol=1e-6)
