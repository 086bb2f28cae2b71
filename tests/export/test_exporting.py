import json
import logging
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtl
from mtl.data.tokenizers.in_graph.graph_tokenizer import GraphTokenizer
from mtl.export.exporting import _without_cudnn, export
from mtl.heads import Classification, Head, MaskedLM, MultiLabel, Regression, Tagging
from mtl.predicting import to_example
from tests.served import assert_served
from tests.tiny import Bag

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

CORPUS = ["the cat isn't on the mat", "New York, I love it", "我爱北京天安门", "so good 👍 so bad"]
TEXTS = [
    "the cat isn't here",
    "",
    "我爱 New York！",
    "北京天安门 Ham\u00adburg \u200b☀\ufe0f",
    "👍🏽 so 👩‍👩‍👧 good",
    "  the mat\n",
    "the cat is on the mat and the dog is in New York, " * 4,
]
BIO, BIOES = ["O", "B-X", "I-X"], ["O", "B-X", "I-X", "E-X", "S-X", "B-Y", "I-Y", "E-Y", "S-Y"]


def tokenizer(kind, **options):
    return mtl.data.Tokenizer.learn(kind, CORPUS, size=None if kind in ("character", "word") else 350, **options)


def task(name, head):
    return mtl.Task(name, head)


def recurrent_characters():
    encoder = mtl.encoders.Recurrent(tokenizer("character"), embedding=6, units=5, bigrams=7, max_length=30)
    heads = {
        "mood": Classification(["down", "up", "中"]),
        "topics": MultiLabel([3, "b", "c"], threshold=0.49),
        "stars": Regression(mean=3.0, scale=40.0, range=(1, 5)),
        "ner": Tagging(BIO, crf=True),
        "words": Tagging(BIOES, scheme="BIOES", level="token"),
    }
    return mtl.MultiTaskModel(encoder, [task(*item) for item in heads.items()])


def recurrent_pieces():
    encoder = mtl.encoders.Recurrent(tokenizer("wordpiece", cls=True), embedding=6, units=5, cell="gru", train_embedding=False)
    heads = {"ner": Tagging(BIOES, scheme="BIOES"), "chunks": Tagging(BIOES, scheme="BIOES", level="token", crf=True)}
    return mtl.MultiTaskModel(encoder, [task(*item) for item in heads.items()], sharing=mtl.sharing.Soft(0.1))


def transformer_bytes():
    encoder = mtl.encoders.Transformer(tokenizer("bpe"), width=8, layers=1, heads=2, max_length=40)
    heads = {
        "mood": Classification(3, hidden=4),
        "pos": Tagging(["N", "V"], scheme=None),
        "ner": Tagging(["O", "B-X", "M-X", "E-X", "S-X"], scheme="BMES"),
        "mlm": MaskedLM(),
        "other": Regression(mean=0.0, scale=1.0),
    }
    return mtl.MultiTaskModel(encoder, [task(*item) for item in heads.items()])


def pretrained():
    import keras_hub

    tokens = tokenizer("wordpiece", cls=True, lowercase=True)
    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 12, "max_sequence_length": 32}
    encoder = mtl.encoders.Pretrained(keras_hub.models.BertBackbone(tokens.vocabulary_size, **sizes), tokenizer=tokens)
    return mtl.MultiTaskModel(encoder, [task("mood", Classification(["down", "up"])), task("ner", Tagging(BIO, level="token"))])


@dataclass
class Case:
    make: Callable[[], mtl.MultiTaskModel]
    tasks: list[str] | None = None
    model: mtl.MultiTaskModel = field(init=False)
    outputs: dict = field(init=False)


CASES = {
    "recurrent, characters": Case(recurrent_characters),
    "recurrent, word pieces": Case(recurrent_pieces),
    "transformer, bytes": Case(transformer_bytes, ["mood", "pos", "ner"]),
    "pretrained": Case(pretrained),
}

#: What another process runs: no mtl, no Keras.
LOADER = """
import pickle, sys
import tensorflow as tf
import tensorflow_text
from pathlib import Path

texts, pairs = pickle.loads(Path("texts.pickle").read_bytes())
results = {}
for folder in sorted(Path("exports").iterdir()):
    served = tf.saved_model.load(str(folder))
    run, run_pairs = served.signatures["serving_default"], served.signatures["serve_pairs"]
    calls = {
        "batch": run(texts=tf.constant(texts)),
        "pairs": run_pairs(texts=tf.constant(texts), pairs=tf.constant(pairs)),
        **{text: run(texts=tf.constant([text])) for text in texts},
        "empty": run(texts=tf.constant([], tf.string)),
    }
    results[folder.name] = {call: {k: v.numpy() for k, v in outputs.items()} for call, outputs in calls.items()}
assert not {"mtl", "keras_hub"} & set(sys.modules), "the library was imported"
Path("results.pickle").write_bytes(pickle.dumps(results))
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """Every case's model exported, and run in a process of its own."""
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("export")
    for name, case in CASES.items():
        case.model = case.make()
        # Weights of some size, so that texts differ in their labels.
        case.model.set_weights([np.random.default_rng(1).normal(size=w.shape, scale=0.7) for w in case.model.get_weights()])
        export(case.model, folder / "exports" / name, case.tasks)
    (folder / "texts.pickle").write_bytes(pickle.dumps((TEXTS, TEXTS[::-1])))
    subprocess.run([sys.executable, "-I", "-c", LOADER], cwd=folder, check=True, timeout=300)
    for name, outputs in pickle.loads((folder / "results.pickle").read_bytes()).items():
        CASES[name].outputs = outputs
    return folder / "exports"


@pytest.fixture(params=list(CASES))
def case(request, exported) -> Case:
    return CASES[request.param]


def assert_equal(case, outputs, texts):
    predicted = case.model.predict_text(texts, case.tasks, batch_size=4)
    assert {name.partition("/")[0] for name in outputs} == set(predicted)
    for name, rows in predicted.items():
        own = {key.partition("/")[2]: value for key, value in outputs.items() if key.startswith(f"{name}/")}
        for i, (text, decoded) in enumerate(zip(texts, rows, strict=True)):
            values = {key: value[i] for key, value in own.items()}
            assert_served(case.model.heads[name], values, decoded, to_example(text).text)


def test_texts(case):
    assert_equal(case, case.outputs["batch"], TEXTS)
    predicted = case.model.predict_text(TEXTS, case.tasks)
    assert any(len({json.dumps(row) for row in rows}) > 3 for rows in predicted.values())


def test_pairs(case):
    pairs = list(zip(TEXTS, TEXTS[::-1], strict=True))
    assert_equal(case, case.outputs["pairs"], pairs)
    batch = case.outputs["batch"]
    assert any(not np.array_equal(value, batch[name]) for name, value in case.outputs["pairs"].items())


def test_single_texts(case):
    for text in TEXTS:
        assert_equal(case, case.outputs[text], [text])


def test_no_texts(case):
    assert all(len(value) == 0 for value in case.outputs["empty"].values())


def test_description(exported):
    description = json.loads((exported / "recurrent, characters" / "signature.json").read_text("utf-8"))
    assert description["signatures"] == {"serving_default": ["texts"], "serve_pairs": ["texts", "pairs"]}
    assert description["max_length"] == 30 and description["versions"]["keras"] == keras.__version__
    tasks = description["tasks"]
    assert [tasks[name]["labels"] for name in ("mood", "topics", "stars")] == [["down", "up", "中"], ["3", "b", "c"], None]
    assert tasks["mood"]["outputs"] == {
        "mood/label": {"dtype": "string", "shape": [None]},
        "mood/score": {"dtype": "float32", "shape": [None]},
        "mood/scores": {"dtype": "float32", "shape": [None, 3]},
    }
    example = description["example"]
    predicted = CASES["recurrent, characters"].model.predict_text(example["texts"])
    assert example["outputs"]["mood/label"] == [row["label"] for row in predicted["mood"]]
    assert example["outputs"]["ner/tags"][0][: len(predicted["ner"][0]["tags"])] == predicted["ner"][0]["tags"]


def test_only_what_the_tasks_need_is_saved(exported):
    names = [name for name, _ in tf.train.list_variables(str(exported / "transformer, bytes" / "variables" / "variables"))]
    model = CASES["transformer, bytes"].model
    layers: list[keras.layers.Layer] = [model.encoder, *(model.heads[name] for name in ("mood", "pos", "ner"))]
    needed = {id(w) for layer in layers for w in layer.trainable_variables}
    assert sum(name.startswith("weights/") for name in names) == len(needed)


# Small models ---------------------------------------------------------------------------------------------------------


def small(head=None, name="mood"):
    words = tokenizer("word")
    return mtl.MultiTaskModel(Bag(words.vocabulary_size, tokenizer=words), task(name, head or Classification(["down", "up"])))


def test_an_earlier_export_is_replaced(exported, tmp_path):
    shutil.copytree(exported / "transformer, bytes", tmp_path / "x")
    assert export(small(Regression(mean=2.0, scale=1e-9)), str(tmp_path / "x")) == tmp_path / "x"
    served = tf.saved_model.load(str(tmp_path / "x")).signatures["serving_default"]
    outputs = served(texts=tf.constant(["the cat"]))
    assert {name: value.numpy().tolist() for name, value in outputs.items()} == {"mood/value": [2.0]}
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_an_export_that_somebody_put_something_into_stays(tmp_path):
    export(small(), tmp_path / "x")
    for name in ("notes.txt", "assets/notes.txt"):
        (tmp_path / "x" / name).write_text("mine")
        with pytest.raises(FileExistsError, match=f"holds something else: '{name}'. Choose another path"):
            export(small(), tmp_path / "x")
        assert (tmp_path / "x" / name).read_text() == "mine"
        (tmp_path / "x" / name).unlink()
    export(small(), tmp_path / "x")


def test_a_replacement_that_was_killed_is_ended(tmp_path, monkeypatch):
    """In the moment between the two moves the earlier export lies beside its place; afterwards too, until it is removed."""
    export(small(), tmp_path / "x")
    before = (tmp_path / "x" / "signature.json").read_bytes()
    shutil.copytree(tmp_path / "x", tmp_path / ".x.replaced")
    shutil.rmtree(tmp_path / "x")
    monkeypatch.setattr("mtl.export.exporting._verify", lambda *_: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        export(small(), tmp_path / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["x"] and (tmp_path / "x" / "signature.json").read_bytes() == before
    shutil.copytree(tmp_path / "x", tmp_path / ".x.replaced")
    monkeypatch.undo()
    export(small(), tmp_path / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    (tmp_path / ".x.replaced").mkdir()
    (tmp_path / ".x.replaced" / "notes.txt").write_text("mine")
    with pytest.raises(OSError, match="not empty"):
        export(small(), tmp_path / "x")
    assert (tmp_path / "x" / "signature.json").exists() and (tmp_path / ".x.replaced" / "notes.txt").read_text() == "mine"


def test_an_earlier_export_whose_removal_is_killed_is_not_in_the_way(tmp_path, monkeypatch):
    export(small(), tmp_path / "x")

    def killed(path, **_):
        Path(path, "x", "signature.json").unlink(missing_ok=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        export(small(), tmp_path / "x")
    monkeypatch.undo()
    export(small(), tmp_path / "x")
    rests = [path for path in tmp_path.iterdir() if path.name != "x"]
    assert rests and all(path.name.startswith(".writing-") for path in rests)
    for path in rests:
        os.utime(path, (0, 0))
    export(small(), tmp_path / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.skipif(os.name != "posix", reason="this system does not lock folders")
def test_what_a_killed_export_left_is_removed(tmp_path):
    rest = tmp_path / f".writing-{'0a' * 16}"
    (rest / "x" / "variables").mkdir(parents=True)
    os.utime(rest, (0, 0))
    export(small(), tmp_path / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_the_folder_that_is_there_while_writing_is_not_named(tmp_path):
    said: list[logging.LogRecord] = []
    handler, logger = logging.Handler(), tf.get_logger()
    handler.emit = said.append  # type: ignore[method-assign, assignment]
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel("INFO")
    try:
        export(small(), tmp_path / "x")
        assert logger.level == logging.INFO
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
    assert not [record for record in said if "written" in record.getMessage()]


def test_nothing_else_is_replaced(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="'.*mine' is a folder that holds something else: 'notes.txt'"):
        export(small(), tmp_path / "mine")
    with pytest.raises(FileExistsError, match="is a file. Choose another path"):
        export(small(), tmp_path / "mine" / "notes.txt")
    (tmp_path / "mine" / "signature.json").write_text("signed")
    with pytest.raises(FileExistsError, match="holds something else"):
        export(small(), tmp_path / "mine")
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == ["notes.txt", "signature.json"]


class Forgetful(GraphTokenizer):
    """Loses the last piece of texts with Chinese characters."""

    def __call__(self, texts, pairs=None, max_length=None):
        lost = tf.strings.regex_replace(texts, "天安门.*", "")
        return super().__call__(lost, pairs, max_length)


def test_another_tokenizer_is_noticed(tmp_path, monkeypatch):
    model = small()
    monkeypatch.setattr(mtl.data.Tokenizer, "graph", lambda self: Forgetful(self))
    with pytest.raises(RuntimeError, match="cut the text '我爱北京天安门.*' into other tokens than the tokenizer does"):
        export(model, tmp_path / "x")
    assert not list(tmp_path.iterdir())


@keras.saving.register_keras_serializable("mtl_tests")
class Moody(Regression):
    """Adds another number each time."""

    def activate(self, outputs, features):
        return super().activate(outputs, features) + tf.random.uniform(tf.shape(outputs))


def test_other_predictions_are_noticed(tmp_path):
    with pytest.raises(RuntimeError, match="the text 'The cat sat .*' the SavedModel gives another mood/value for task"):
        export(small(Moody(mean=0.0, scale=1.0)), tmp_path / "x")
    assert not list(tmp_path.iterdir())


class Silent(Classification):
    serve = Head.serve


def test_bad_input(tmp_path):
    with pytest.raises(ValueError, match="Unknown task 'moood'; did you mean 'mood'"):
        export(small(), tmp_path / "x", ["moood"])
    with pytest.raises(ValueError, match="expects an encoder that has a tokenizer"):
        export(mtl.MultiTaskModel(Bag(), task("mood", Classification(2))), tmp_path / "x")
    with pytest.raises(ValueError, match=r"Expected a task that predicts; those of the model, \['lm'\], serve training only"):
        export(small(MaskedLM(), "lm"), tmp_path / "x")
    with pytest.raises(ValueError, match="expects heads with `serve`; got task 'mood' with Silent, which has none"):
        export(small(Silent(2)), tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_recurrent_layers_are_traced_for_every_device():
    model = recurrent_pieces()
    layers = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.GRU)]
    assert len(layers) == 4
    with _without_cudnn(model):
        assert [layer.use_cudnn for layer in layers] == [False] * 4
    assert [layer.use_cudnn for layer in layers] == ["auto"] * 4
