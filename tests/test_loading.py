import copy
import json
import random
import subprocess
import sys
import textwrap
import zipfile

import pytest

import mtl
from mtl.data import Tokenizer
from mtl.loading import load_model
from tests.encoders.arithmetic import write_bert

# Keras reads variables as NumPy arrays in a way that NumPy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


def make_model(encoder=None):
    tokenizer = Tokenizer.learn("word", ["the cat sat", "a dog ran"])
    encoder = encoder or mtl.encoders.Recurrent(tokenizer, embedding=4, units=4)
    return mtl.MultiTaskModel(encoder, [mtl.Task("mood", mtl.heads.Classification(["up", "down"]))])


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    make_model().save(path)
    return path


def changed(saved, path, config=None, **parts):
    """A copy of a `.keras` file with another configuration, text or bytes, and other parts."""
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = parts.get(name.partition(".")[0], old.read(name))
            new.writestr(name, config if name == "config.json" and config is not None else content)
    return path


def config_of(saved):
    with zipfile.ZipFile(saved) as archive:
        return json.loads(archive.read("config.json"))


def object_of(name, module, registered, **config):
    return {"class_name": name, "module": module, "registered_name": registered, "config": config}


def pretrained(preset):
    return object_of("Pretrained", "mtl.encoders.pretrained", "mtl>Pretrained", preset=preset)


HUB = ("keras_hub.tokenizers", "keras_hub>WordPieceTokenizer")
WORD_PIECE = object_of("WordPieceTokenizer", *HUB, vocabulary="{secret}", dtype="int32")
LOOKUP = object_of("StringLookup", "keras.layers", None, vocabulary="{secret}")
CLASSIFIER = object_of("BertTextClassifier", "keras_hub.models", "keras_hub>BertTextClassifier", backbone=LOOKUP, num_classes=2)
#: What a hostile configuration changes, by route; `{secret}` is the path of a file.
HOSTILE = {
    "word vectors": (("encoder", "config", "embedding_matrix"), "{secret}", "holds no embedding_matrix.*opens no other file"),
    "KerasHub's name": (("encoder",), pretrained("bert_tiny_en_uncased"), "reaches for no network"),
    "hf://": (("encoder",), pretrained("hf://user/model"), "got preset='hf://user/model'.*reaches for no network"),
    "kaggle://": (("encoder",), pretrained("kaggle://user/bert/keras/x"), "reaches for no network"),
    "a folder": (("encoder",), pretrained("{secret}"), "loading opens no other file"),
    "a folder in a list": (("encoder",), pretrained(["{secret}"]), "loading opens no other file"),
    "a tokenizer in a preset": (("encoder",), pretrained(WORD_PIECE), "KerasHub's 'WordPieceTokenizer'"),
    "a path as tokenizer": (("encoder", "config", "tokenizer"), "{secret}", "expects its tokenizer in its configuration"),
    "KerasHub's tokenizer": (
        ("encoder", "config", "tokenizer"),
        WORD_PIECE,
        "KerasHub's 'WordPieceTokenizer', which is no layer",
    ),
    "another's tokenizer": (
        ("encoder", "config", "tokenizer"),
        object_of("BytePairTokenizer", "keras_hub.src.tokenizers.byte_pair_tokenizer", None, vocabulary="{secret}"),
        "KerasHub's 'BytePairTokenizer', which is no layer",
    ),
    "a lookup": (("sharing",), LOOKUP, "got vocabulary=.* for 'StringLookup': loading opens no other file"),
    "a lookup within": (("balancer", "config"), {"balancer": [LOOKUP]}, "for 'StringLookup': loading opens no other file"),
    "a task of KerasHub": (("sharing",), CLASSIFIER, "KerasHub's 'BertTextClassifier'"),
    "code": (("tasks", 0, "config", "head"), object_of("Lambda", "keras.layers", None), "a 'Lambda', which runs code"),
    "a SavedModel": (
        ("sharing",),
        object_of("TFSMLayer", "keras.layers", None, filepath="{secret}"),
        "'TFSMLayer', which runs code",
    ),
    "a source": (("tasks", 0, "config", "source"), "{secret}", "Task expects `source` as"),
    "a function": (("sharing",), object_of("function", "keras.utils", "get_file"), "."),
    "a module": (("sharing",), object_of("system", "os", "os>system"), "."),
    "no tasks": (("tasks",), [], "expects at least one task; got none"),
    "no task": (("tasks",), ["mood"], "holds its tasks; got 'mood'"),
    "no encoder": (("encoder",), None, "holds its encoder; got None"),
    "a billion layers": (("encoder", "config", "layers"), 10**9, "Recurrent expects .*layer"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_loading_opens_no_other_file_and_runs_nothing(saved, tmp_path, kind, monkeypatch):
    secret = tmp_path / "secret.txt"
    secret.write_text("password hunter2\nother 1 2\n")
    route, value, message = HOSTILE[kind]
    config = config_of(saved)
    at = config["config"]
    for key in route[:-1]:
        at = at[key]
    at[route[-1]] = json.loads(json.dumps(value).replace("{secret}", str(secret)))
    path = changed(saved, tmp_path / "hostile.keras", json.dumps(config))
    opened: list[object] = []
    sys.addaudithook(lambda event, args: opened.append(args[0]) if event == "open" and live else None)
    live = True
    with pytest.raises(ValueError, match=message) as caught:
        load_model(path)
    live = False
    said = str(caught.value)
    assert "hunter2" not in said and "\n" not in said and len(said) < 600
    assert str(secret) not in map(str, opened)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("[" * 100_000, "at most 100 levels in the JSON"),
        ('{"a":' * 500 + "1" + "}" * 500, "at most 100 levels in the JSON"),
        ("[1]", "Expected a JSON object"),
        ("null", "Expected a JSON object"),
        (b"\xff\xfe\x00", "Expected JSON in"),
        ("", "Expected JSON in"),
        ('{"a": ' + "9" * 5000 + "}", "Expected JSON in"),
        ("{}", "Expected a saved MultiTaskModel|cannot be read as a model"),
        ('{"registered_name": "mtl>MultiTaskModel"}', "cannot be read as a model"),
        ('{"registered_name": "mtl>MultiTaskModel", "class_name": "X", "config": []}', "cannot be read as a model"),
        ('{"class_name": "\\u001b[31m", "config": {}}', r"\\x1b\[31m"),
    ],
)
def test_a_configuration_that_is_none(saved, tmp_path, config, message):
    with pytest.raises(ValueError, match=message) as caught:
        load_model(changed(saved, tmp_path / "m.keras", config))
    assert len(str(caught.value)) < 600


def test_flipped_and_missing_bytes(saved, tmp_path):
    whole = saved.read_bytes()
    path = tmp_path / "m.keras"
    for seed in range(20):
        rng = random.Random(seed)
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged[: rng.choice([len(whole), rng.randrange(len(whole))])])
        try:
            load_model(path)
        except ValueError as error:
            assert "\n" not in str(error)
    with zipfile.ZipFile(saved) as archive:
        weights = archive.read("model.weights.h5")
    for part in (b"", weights[:5000], b"x" * 5000):
        with pytest.raises(ValueError, match="cannot be read as a model"):
            load_model(changed(saved, path, model=part))


def test_a_saved_encoder_alone_is_checked_too(tmp_path):
    import keras

    encoder = mtl.encoders.Recurrent(vocabulary_size=9, embedding=4, units=4)
    config = {**encoder.get_config(), "embedding_matrix": "/etc/passwd"}
    with pytest.raises(ValueError, match="loading opens no other file"):
        keras.saving.deserialize_keras_object({**keras.saving.serialize_keras_object(encoder), "config": config})
    with pytest.raises(ValueError, match="reaches for no network"):
        mtl.encoders.Pretrained.from_config({"preset": "bert_tiny_en_uncased"})


def test_what_was_made_from_files_loads_without_them(tmp_path):
    folder = tmp_path / "data"
    write_bert(folder / "bert", words=["cat", "dog"])
    (folder / "vectors.txt").write_text("cat 1 2\ndog 3 4\n")
    tokenizer = Tokenizer.learn("word", ["cat dog"])
    encoders = {
        "bert": mtl.encoders.Pretrained(folder / "bert"),
        "words": mtl.encoders.Recurrent(tokenizer, embedding_matrix=folder / "vectors.txt", units=4),
    }
    expected = {}
    for name, encoder in encoders.items():
        model = make_model(encoder)
        model.save(tmp_path / f"{name}.keras")
        expected[name] = model.predict_text(["cat dog", "dog"])["mood"]
    folder.rename(tmp_path / "gone")
    code = textwrap.dedent(f"""
        import json
        from pathlib import Path
        from mtl.loading import load_model
        models = {{name: load_model(Path({str(tmp_path)!r}, f"{{name}}.keras")) for name in ("bert", "words")}}
        print("RESULT", json.dumps({{name: model.predict_text(["cat dog", "dog"])["mood"] for name, model in models.items()}}))
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    result = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("RESULT"))[7:])
    for name, rows in expected.items():
        for mine, theirs in zip(rows, copy.deepcopy(result[name]), strict=True):
            assert theirs["label"] == mine["label"]
            assert theirs["probabilities"] == pytest.approx(mine["probabilities"], abs=1e-6)


def test_another_model_is_none_of_ours(tmp_path):
    import keras

    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(tmp_path / "m.keras")
    with pytest.raises(ValueError, match="Expected a saved MultiTaskModel; .* holds a Sequential"):
        load_model(tmp_path / "m.keras")


def test_a_class_that_is_not_imported_is_named_and_how_to_import_it(tmp_path):
    (tmp_path / "odd_heads.py").write_text(
        "import keras, mtl\n"
        "@keras.saving.register_keras_serializable('mine')\n"
        "class Odd(mtl.heads.Classification):\n    pass\n"
        "class Plain(mtl.heads.Classification):\n    pass\n"
        "if __name__ == '__main__':\n"
        "    import odd_heads\n"
        "    for name in ('Odd', 'Plain'):\n"
        "        words = mtl.data.Tokenizer.learn('word', ['so good'])\n"
        "        encoder = mtl.encoders.Recurrent(words, embedding=4, units=4)\n"
        "        head = getattr(odd_heads, name)(['up', 'down'])\n"
        "        mtl.MultiTaskModel(encoder, mtl.Task('mood', head)).save(f'{name}.keras')\n"
    )
    run = {"cwd": tmp_path, "capture_output": True, "text": True, "timeout": 300}
    subprocess.run([sys.executable, "odd_heads.py"], check=True, **run)
    for name in ("mine>Odd", "Plain"):
        with pytest.raises(ValueError, match=f"needs the class '{name}', which no imported module registers. Import the module"):
            load_model(tmp_path / f"{name.removeprefix('mine>')}.keras")
    command = "from mtl.cli import main; main()"
    options = ["--import", "odd_heads", "predict", "Odd.keras"]
    done = subprocess.run([sys.executable, "-P", "-c", command, *options], input="so good\n", **run)
    assert '"mood": {"label":' in done.stdout, done.stderr
