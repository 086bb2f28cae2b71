"""Recipes, configurations, models and caches with random damage: each is read, or refused in one sentence, at once."""

import copy
import json
import random
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mtl
from mtl import Task
from mtl.data import Tokenizer, records
from mtl.data.mixture.prepare import prepare
from mtl.encoders import Pretrained, Recurrent
from mtl.heads import Classification, Tagging
from mtl.loading import load_model
from mtl.recipe import Recipe
from tests.encoders.arithmetic import write_bert

# Keras reads variables as NumPy arrays in a way that NumPy 2 deprecates, and warns of weights that it does not find.
pytestmark = pytest.mark.filterwarnings("ignore")

SECONDS = 60


def seeds(few, many):
    """Some seeds in each run of the tests, and more in long ones."""
    return pytest.mark.parametrize(
        "seeds", [range(few), pytest.param(range(few, many), marks=pytest.mark.long)], ids=["few", "more"]
    )


ODD: list[Any] = [
    None, True, -1, 0, 3, 10**9, 10**30, 1.5, -1e308, float("nan"), float("inf"), "", "x", "\x1b[31m", "../../etc/passwd", "hf://a/b",
    "y" * 5000, "9" * 400, [], {}, [[]], {"a": 1}, [None], ["x", 1], {"class_name": "Lambda", "config": {}}, {"": {"": []}},
]  # fmt: skip
PIECES = [
    "[",
    "{",
    "}",
    ": ",
    "- ",
    "\n",
    "  ",
    "'",
    '"',
    "&a ",
    "*a",
    "!!python/name:os.system ",
    "<<: ",
    "~",
    "\x00",
    "é",
    "9" * 400,
]
RECIPE = """\
seed: 3
sources:
  moods: {records: {data: {train: [{text: so good, mood: up}, {text: so bad, mood: down}]}, label: mood}}
  files: {csv: {path: {train: mood.csv}, label: mood, encoding: utf-8}}
encoder:
  Recurrent: {tokenizer: {learn: word, size: 50}, embedding: 4, units: 4, dropout: 0.1}
tasks:
  mood: {source: [moods, files], label: mood, head: {Classification: {dropout: 0.0}}}
sharing: {Soft: {strength: 0.1}}
balancer: {UncertaintyWeighting: {}}
data: {batch_size: 4, cache_dir: null}
train:
  epochs: 1
  optimizer: {AdamW: {learning_rate: {CosineDecay: {initial_learning_rate: 0.1, decay_steps: 5}}}}
  callbacks: []
baselines: {mood: majority}
report: {split: train, limit: 5}
output: out
"""


def damaged_text(text: str, rng: random.Random) -> str:
    """A text in which one to four spans were removed, repeated, or filled with what means something to a parser."""
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(text) + 1)
        end = min(len(text), start + rng.randint(0, 12))
        text = text[:start] + rng.choice(["", text[start:end] * 2, rng.choice(PIECES), rng.choice(PIECES) * 60]) + text[end:]
    return text


def damaged_value(value, rng: random.Random):
    """Data of which one or two parts were replaced or removed."""
    value = copy.deepcopy(value)
    for _ in range(rng.randint(1, 2)):
        places, rest = [], [value]
        while rest:
            whole = rest.pop()
            for key in list(whole) if isinstance(whole, dict) else range(len(whole)):
                places.append((whole, key))
                if isinstance(whole[key], (dict, list)):
                    rest.append(whole[key])
        if places:
            whole, key = rng.choice(places)
            if rng.random() < 0.2:
                del whole[key]
            else:
                whole[key] = copy.deepcopy(rng.choice(ODD))
    return value


def damaged_bytes(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed[: rng.choice([len(content), rng.randrange(len(content) + 1)])])


def read_or_refused(read, seed) -> bool:
    """Whether reading succeeds; where it does not, the error is one of the package's, and one sentence."""
    start = time.perf_counter()
    try:
        read()
    except (ValueError, OSError) as error:
        said = str(error)
        assert "\n" not in said and "\x1b" not in said and 0 < len(said) < 1500, (seed, said)
        return False
    finally:
        assert time.perf_counter() - start < SECONDS, seed
    return True


@seeds(30, 300)
def test_recipes(tmp_path, seeds):
    (tmp_path / "mood.csv").write_text("text,mood\nso good,up\nso bad,down\n")
    path = tmp_path / "r.yaml"

    def read():
        recipe = Recipe.load(path)
        sources = recipe.build_sources()
        recipe.build_tasks(sources)
        return recipe.as_yaml(), recipe.output, recipe.epochs, recipe.seed, recipe.baselines, recipe.reporting

    path.write_text(RECIPE)
    assert read()
    whole = Recipe.load(path).data
    outcomes = set()
    for seed in seeds:
        rng = random.Random(seed)
        kind = seed % 3
        if kind == 0:
            path.write_text(damaged_text(RECIPE, rng), "utf-8")
        elif kind == 1:
            path.write_text(json.dumps(damaged_value(whole, rng)), "utf-8")
        else:
            path.write_bytes(damaged_bytes(RECIPE.encode(), rng))
        outcomes.add(read_or_refused(read, seed))
    assert outcomes == {True, False}


@seeds(4, 60)
def test_saved_models(tmp_path, seeds):
    path = tmp_path / "model.keras"
    encoder = Recurrent(Tokenizer.learn("word", ["so good", "so bad"]), embedding=4, units=4)
    tasks = [Task("mood", Classification(["up", "down"])), Task("place", Tagging(["O", "B-LOC", "I-LOC"]))]
    model = mtl.MultiTaskModel(encoder, tasks, mtl.sharing.Soft(0.1), "uncertainty_weighting")
    model.compile("adam")
    model.save(path)
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    config["config"]["encoder"]["config"].pop("frozen", None)
    for seed in seeds:
        rng = random.Random(seed)
        if seed % 4 == 0:
            path.write_bytes(damaged_bytes(content, rng))
        else:
            with zipfile.ZipFile(path, "w") as archive:
                for name, part in parts.items():
                    archive.writestr(name, json.dumps(damaged_value(config, rng)) if name == "config.json" else part)
        read_or_refused(lambda: load_model(path), seed)


@seeds(8, 80)
def test_folders_of_pretrained_networks(tmp_path, seeds):
    _, config = write_bert(tmp_path, words=["cat", "dog"])
    tokenizer = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": True,
        "unk_token": "[UNK]",
        "mask_token": {"content": "[MASK]"},
    }
    weights = (tmp_path / "model.safetensors").read_bytes()
    for seed in seeds:
        rng = random.Random(seed)
        names = {"config.json": config, "tokenizer_config.json": tokenizer}
        for name, value in names.items():
            (tmp_path / name).write_text(json.dumps(damaged_value(value, rng) if seed % 4 else value))
        if seed % 4 == 0:
            (tmp_path / "model.safetensors").write_bytes(damaged_bytes(weights, rng))
        else:
            (tmp_path / "model.safetensors").write_bytes(weights)
        read_or_refused(lambda: Pretrained(tmp_path), seed)


@seeds(40, 300)
def test_definitions_of_tokenizers(seeds):
    definition = Tokenizer.learn("wordpiece", ["so good", "so bad"], size=60).definition
    for seed in seeds:
        rng = random.Random(seed)
        changed = json.dumps(damaged_value(json.loads(definition), rng)) if seed % 2 else damaged_text(definition, rng)
        read_or_refused(lambda text=changed: Tokenizer(text).encode(["so good"], ["bad [SEP] é"]), seed)


@seeds(30, 300)
def test_token_caches(tmp_path, seeds):
    encoder = Recurrent(Tokenizer.learn("word", ["so good", "so bad"]), embedding=4, units=4)
    rows = [{"text": "so good", "mood": "up"}, {"text": "bad", "mood": "down"}, {"text": "so bad", "mood": "down"}]
    source = records(rows, label="mood", fractions=None)
    source.fingerprint = "known"

    def read():
        store = prepare(source, "train", [Task("mood", Classification(["up", "down"]), source)], encoder, None, tmp_path)
        return store.values("token_ids", np.arange(3), {"tokens": 2}).tolist(), store.values("y.mood", np.arange(3), {}).tolist()

    whole, found = read(), []
    (folder,) = tmp_path.iterdir()
    meta = json.loads((folder / "store.json").read_text())
    files = sorted(path.name for path in folder.iterdir())
    for seed in seeds:
        rng = random.Random(seed)
        if seed % 2:
            (folder / "store.json").write_text(json.dumps(damaged_value(meta, rng)))
        else:
            path = Path(folder, rng.choice(files))
            path.write_bytes(damaged_bytes(path.read_bytes(), rng))
        assert read_or_refused(lambda: found.append(read()), seed) and found.pop() == whole, seed
