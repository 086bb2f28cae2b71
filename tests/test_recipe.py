import math
from pathlib import Path

import keras
import pytest
import tensorflow as tf
import yaml

import mtl
from mtl.commands.recipe_file import Document
from mtl.commands.sections import CHECKPOINT, PRECISIONS, SECTIONS
from mtl.recipe import Recipe

RECIPES = sorted((Path(__file__).parent.parent / "recipes").glob("*.yaml"))

CSV = "text,mood\n" + "".join(f"so {word} {n},{mood}\n" for n in range(4) for word, mood in (("good", "up"), ("bad", "down")))
CONLL = "in O\nRome B-LOC\n\ngood O\nParis B-LOC\n\n"
TEXT = """\
seed: 3
sources:
  moods: {csv: {path: {train: data/mood.csv, validation: data/mood.csv, test: data/mood.csv}, label: mood}}
  places:
    conll: {path: [data/places.conll], fractions: null}
encoder:
  Recurrent:
    tokenizer: {learn: word, size: 100}
    embedding: 6
    units: 4
tasks:
  mood: {source: moods, head: Classification}
  places:
    source: places
    head: {Tagging: {crf: true}}
sharing: Hard
balancer: {Static: {weights: {mood: 2.0}}}
data: {batch_size: 4, cache_dir: null}
train:
  epochs: 2
  optimizer: {SGD: {learning_rate: {CosineDecay: {initial_learning_rate: 0.5, decay_steps: 10}}}}
  monitor: val_mood_accuracy
baselines: {mood: [majority, word_ngrams]}
report: {split: test}
output: out
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/mood.csv").write_text(CSV)
    (tmp_path / "data/places.conll").write_text(CONLL)
    (tmp_path / "r.yaml").write_text(TEXT)
    return tmp_path


def test_builds_what_it_says(folder: Path, monkeypatch) -> None:
    monkeypatch.chdir("/")
    recipe = Recipe.load(folder / "r.yaml")
    assert (recipe.seed, recipe.epochs, str(recipe.output)) == (3, 2, "out")
    run = recipe.build()
    assert sorted(run.sources) == ["moods", "places"] and run.sources["moods"].name == "moods"
    assert run.model.heads["mood"].labels == ("down", "up")
    assert run.model.heads["places"].crf and set(run.model.heads["places"].labels) >= {"O", "B-LOC"}
    assert run.encoder.width == 8
    # The tokenizer has seen the training texts of both sources, and no other.
    assert {"good", "Rome"} <= set(run.encoder.tokenizer.vocabulary())
    assert run.model.balancer.get_config()["weights"] == {"mood": 2.0}
    rate = run.model.optimizer._learning_rate
    assert isinstance(rate, keras.optimizers.schedules.CosineDecay) and rate.initial_learning_rate == 0.5
    assert run.train.mixture.sizes == [8, 2] and run.train.mixture.seed == 3
    assert run.validation.mixture.split == "validation" and not run.validation.mixture.shuffle
    stop = recipe.build_callbacks(run.model, True)[0]
    assert (stop.monitor, stop.mode, stop.patience) == (("val_mood_accuracy",), "max", None)


def test_what_is_best_is_said_by_the_arguments_of_best_model(folder: Path) -> None:
    figures = "train.monitor=[val_mood_accuracy, val_places_span_f1]"
    chosen = ["train.weights={val_mood_accuracy: 3}", "train.stop=any", "train.patience=2", "train.combine=mean"]
    recipe = Recipe.load(folder / "r.yaml", [figures, *chosen])
    best = recipe.build_callbacks(recipe.build().model, True)[0]
    assert (best.combine, best.weights, best.stop, best.patience) == ("mean", {"val_mood_accuracy": 3}, "any", 2)


def test_fine_tuning_optimizer_knows_the_model_and_the_steps(folder: Path) -> None:
    settings = "{learning_rate: 3e-5, schedule: linear, warmup: 0.1, layer_decay: 0.5, head_learning_rate: 3e-4}"
    run = Recipe.load(folder / "r.yaml", ["train.epochs=10", f"train.optimizer={{adamw: {settings}}}"]).build()
    steps = 10 * len(run.train)
    optimizer = run.model.optimizer
    assert isinstance(optimizer, mtl.transfer.ScaledAdamW)
    rate = optimizer._learning_rate
    assert rate.steps == round(0.1 * steps) > 0 and float(rate(rate.steps)) == pytest.approx(3e-5)
    assert float(rate(steps)) == 0 < float(rate(steps - 1))
    assert optimizer.scale_of(run.encoder.blocks[-1][0].trainable_variables[0]) == pytest.approx(0.5)
    assert optimizer.scale_of(run.model.heads["mood"].trainable_variables[0]) == pytest.approx(10)


def test_a_balancer_by_name_and_where_it_compares(folder: Path) -> None:
    model = Recipe.load(folder / "r.yaml", ["balancer=pcgrad", "gradients_at=representation"]).build().model
    assert type(model.balancer).__name__ == "PCGrad" and model.gradients_at == "representation"


def test_same_seed_same_weights(folder: Path) -> None:
    first, second, other = (Recipe.load(folder / "r.yaml", {"seed": seed}).build().model.get_weights() for seed in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(first, second, strict=True))
    assert any((a != b).any() for a, b in zip(first, other, strict=True))


def test_overrides(folder: Path) -> None:
    changes = ["encoder.Recurrent.units=5", "train.epochs=7", "sharing={Soft: {strength: 0.1}}"]
    recipe = Recipe.load(folder / "r.yaml", [*changes, "tasks.mood.head.Classification.label_smoothing=0.1"])
    run = recipe.build()
    assert run.encoder.width == 10 and recipe.epochs == 7
    assert run.model.heads["mood"].label_smoothing == 0.1 and isinstance(run.model.sharing, mtl.sharing.Soft)


def test_as_used_is_a_recipe_that_can_lie_elsewhere(folder: Path, tmp_path_factory) -> None:
    recipe = Recipe.load(folder / "r.yaml", ["train.epochs=7"])
    copy = tmp_path_factory.mktemp("elsewhere") / "copy.yaml"
    copy.write_text(recipe.as_yaml())
    again = Recipe.load(copy)
    assert again.data == recipe.data and again.epochs == 7
    path = again.data["sources"]["moods"]["csv"]["path"]["train"]
    assert path == str(folder / "data/mood.csv")
    assert len(list(again.build_sources()["moods"].examples("train"))) == 8


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seed: 3", "sed: 3", r"r.yaml, line 1: Unknown section 'sed'; did you mean 'seed'"),
        ("seed: 3", "seed: x", r"line 1: expected 'seed' to be a whole number from 0; got 'x'"),
        ("seed: 3", "seed: true", r"line 1: expected 'seed' to be a whole number"),
        ("csv:", "cvs:", r"line 3: Unknown source 'cvs'; did you mean 'csv'"),
        ("csv: {path:", "mix: {path:", r"line 3: Unknown source 'mix'"),
        ("label: mood}", "lable: mood}", r"line 3: Unknown argument of csv 'lable'; did you mean 'label'"),
        ("conll: {path: [data/places.conll], fractions: null}", "conll:", r"line 5: conll needs the argument 'path'"),
        ("conll: {path: [data/places.conll], fractions: null}", "conll: 3", r"line 5: conll expects arguments by name"),
        ("Recurrent:", "Recurent:", r"line 7: Unknown encoder 'Recurent'; did you mean 'Recurrent'"),
        ("  Recurrent:", "  Encoder:", r"line 7: Unknown encoder 'Encoder'"),
        ("    units: 4", "    unit: 4", r"line 10: Unknown argument of Recurrent 'unit'; did you mean 'units'"),
        ("    units: 4", "  units: 4", r"line 6: expected one encoder as NAME .*did you mean 'encoder.Recurrent.units'"),
        ("{learn: word, size: 100}", "{learn: word, sise: 100}", r"line 8: Unknown argument of the tokenizer 'sise'"),
        ("{learn: word, size: 100}", "word", r"line 8: a tokenizer is \{learn: character"),
        ("{learn: word, size: 100}", "{folder: x, size: 1}", r"line 8: a tokenizer from a folder takes no other"),
        ("source: moods, head", "source: mood, head", r"line 12: Unknown source 'mood'; did you mean 'moods'"),
        ("head: Classification}", "head: Clasification}", r"line 12: Unknown head .*; did you mean 'Classification'"),
        ("head: Classification}", "heads: Classification}", r"line 12: Unknown key of task 'mood' 'heads'; did you mean 'head'"),
        ("mood: {source: moods, head: Classification}", "mood: {source: moods}", r"line 12: task 'mood' needs a head"),
        ("mood: {source: moods, head: Classification}", "mood: Classification", r"line 12: expected task 'mood' as"),
        ("{Tagging: {crf: true}}", "{Tagging: {cfr: true}}", r"line 15: Unknown argument of Tagging 'cfr'; did you mean 'crf'"),
        ("{Tagging: {crf: true}}", "[Tagging]", r"line 15: expected one head as NAME"),
        ("sharing: Hard", "sharing: Hrd", r"line 16: Unknown sharing 'Hrd'; did you mean 'Hard'"),
        ("{Static: {weights", "{Statik: {weights", r"line 17: Unknown balancer 'Statik'; did you mean 'Static'"),
        ("batch_size: 4", "batch_size: four", r"line 18: 'batch_size' of data is a whole number from 1; got 'four'"),
        ("batch_size: 4", "batchsize: 4", r"line 18: Unknown argument of data 'batchsize'; did you mean 'batch_size'"),
        ("data: {batch_size: 4, cache_dir: null}", "data: 4", r"line 18: expected 'data' to hold"),
        ("epochs: 2", "epoch: 2", r"line 20: Unknown key of 'train' 'epoch'; did you mean 'epochs'"),
        ("epochs: 2", "epochs: 0", r"line 20: expected 'train.epochs' to be a whole number from 1; got 0"),
        ("{SGD:", "{SDG:", r"line 21: Unknown optimizer 'SDG'; did you mean 'SGD'"),
        ("{CosineDecay:", "{CosinDecay:", r"line 21: Unknown schedule 'CosinDecay'; did you mean 'CosineDecay'"),
        ("monitor: val", "mode: most\n  monitor: val", r"line 22: Unknown mode 'most'"),
        ("monitor: val", "combine: median\n  monitor: val", r"line 22: Unknown combine 'median'"),
        ("monitor: val", "stop: never\n  monitor: val", r"line 22: Unknown stop 'never'"),
        ("monitor: val_mood_accuracy", "stop: any", r"line 22: 'stop' goes with 'monitor'"),
        ("monitor: val", "precision: float8\n  monitor: val", r"line 22: Unknown precision 'float8'; .* 'float32'"),
        ("monitor: val_mood_accuracy", "patience: 3", r"line 22: 'patience' goes with 'monitor'"),
        ("monitor: val_mood_accuracy", "baseline: {val_loss: 1.0}", r"line 22: 'baseline' goes with 'monitor'"),
        ("monitor: val", "strategy: two\n  monitor: val", r"line 22: Unknown strategy 'two'"),
        ("monitor: val", "checkpoint: true\n  monitor: val", r"line 22: expected 'checkpoint' as settings or false; got True"),
        ("monitor: val", "checkpoint: {every_step: 1}\n  monitor: val", r"line 22: .*did you mean 'every_steps'"),
        ("monitor: val_mood_accuracy", "callbacks: [Stop]", r"line 22: Unknown callback 'Stop'"),
        ("monitor: val_mood_accuracy", "callbacks: TerminateOnNaN", r"line 22: expected 'callbacks' as a list; got 'Termin"),
        ("{mood: [majority,", "{mod: [majority,", r"line 23: Unknown task 'mod'; did you mean 'mood'"),
        ("[majority, word_ngrams]", "[mayority]", r"line 23: Unknown baseline 'mayority'; did you mean 'majority'"),
        ("{split: test}", "{splits: test}", r"line 24: Unknown key of 'report' 'splits'; did you mean 'split'"),
    ],
)
def test_names_what_is_wrong_and_where(folder: Path, old: str, new: str, message: str) -> None:
    assert TEXT.count(old) == 1 or old == "Recurrent:", old
    (folder / "r.yaml").write_text(TEXT.replace(old, new, 1))
    with pytest.raises(ValueError, match=message):
        Recipe.load(folder / "r.yaml")


@pytest.mark.parametrize("section", ["sources", "encoder", "tasks"])
def test_needed_sections(folder: Path, section: str) -> None:
    with pytest.raises(ValueError, match=f"a recipe needs the section '{section}'"):
        Recipe.load(folder / "r.yaml", {section: None})


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "encoder.Recurrent.layers=0",
            "layers=0: 'layers' of Recurrent is a whole number from 1; got 0",
        ),
        ("tasks.places.head.Tagging.level=char", r"Unknown level of tags 'char'"),
        ("tasks.mood.label=mod", r"Unknown label of task 'mood' in source 'moods' 'mod'; did you mean 'mood'"),
        ("encoder.Recurrent.tokenizer.learn=words", r"did you mean 'word'"),
        ("balancer={Static: {weights: {mod: 1}}}", r"Unknown task in the balancer's weights 'mod'; did you mean 'mood'"),
    ],
)
def test_values_that_cannot_be(folder: Path, setting: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe.load(folder / "r.yaml", [setting]).build()


def test_missing_file(folder: Path) -> None:
    recipe = Recipe.load(folder / "r.yaml", ["sources.moods.csv.path=none.csv"])
    with pytest.raises(FileNotFoundError, match=r"line 3 with --set sources.moods.csv.path=none.csv: .*none.csv"):
        recipe.build()


def test_monitor_must_exist(folder: Path) -> None:
    recipe = Recipe.load(folder / "r.yaml", ["train.monitor=val_mood_acuracy"])
    with pytest.raises(ValueError, match="Unknown figure to monitor 'val_mood_acuracy'; did you mean 'val_mood_accuracy'"):
        recipe.build_callbacks(recipe.build().model, True)


def test_several_figures_over_a_baseline(folder: Path) -> None:
    changes = {"train.monitor": ["val_mood_accuracy", "val_loss"], "train.baseline": {"val_mood_accuracy": 0.5, "val_loss": 1.0}}
    recipe = Recipe.load(folder / "r.yaml", changes)
    best = recipe.build_callbacks(recipe.build().model, True)[0]
    assert best.monitor == ("val_mood_accuracy", "val_loss") and best.baseline == {"val_mood_accuracy": 0.5, "val_loss": 1.0}


def test_built_in_the_scope_of_a_strategy(folder: Path) -> None:
    run = Recipe.load(folder / "r.yaml", ["train.strategy=mirrored", "train.skip_nonfinite=true"]).build()
    assert isinstance(run.model.distribute_strategy, tf.distribute.MirroredStrategy) and run.model.skip_nonfinite
    run.model.fit(run.train, verbose=0)


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_precision(folder: Path, precision: str) -> None:
    run = Recipe.load(folder / "r.yaml", [f"train.precision={precision}"]).build()
    assert {layer.dtype_policy.name for layer in (run.encoder.token_embedding, run.model.heads["mood"])} == {precision}
    assert isinstance(run.model.optimizer, keras.optimizers.LossScaleOptimizer) == (precision == "mixed_float16")
    assert keras.config.dtype_policy().name == "float32"
    assert math.isfinite(run.model.fit(run.train, verbose=0).history["loss"][0])


def test_products_in_bfloat16(folder: Path) -> None:
    try:
        Recipe.load(folder / "r.yaml", ["train.precision=bfloat16_products"]).build()
        assert mtl.bfloat16_products(False)
    finally:
        mtl.bfloat16_products(False)


def test_the_page_tells_of_every_key() -> None:
    page = (RECIPES[0].parent.parent / "docs" / "recipes.md").read_text()
    keys = {*SECTIONS, *(key for each in SECTIONS.values() for key in each or ()), *PRECISIONS, *CHECKPOINT}
    assert not {key for key in keys if f"`{key}`" not in page}
    example = yaml.safe_load(page.partition("```yaml")[2].partition("```")[0])
    example["sources"] = {
        "news": {"records": {"data": [{"text": "t", "topic": "x", "tags": ["a"]}], "label": ["topic", "tags"]}},
        "places": {"records": {"data": [{"text": ["t"], "ner": ["O"]}], "label": "ner"}},
    }
    Recipe(Document(example, {}, "news.yaml"))


def test_a_split_that_no_source_has(folder: Path) -> None:
    with pytest.raises(ValueError, match="Unknown split 'tset'; did you mean 'test'"):
        Recipe.load(folder / "r.yaml", ["report.split=tset"]).build()


def test_no_training_data(folder: Path) -> None:
    text = TEXT.replace("fractions: null", "fractions: {test: 1.0}").replace("train: data/mood.csv, ", "")
    (folder / "r.yaml").write_text(text)
    with pytest.raises(ValueError, match="expects a source with a split 'train'; got 'moods' .*; 'places' has test. Add train"):
        Recipe.load(folder / "r.yaml").build()


def test_monitored_losses_are_to_fall(folder: Path) -> None:
    recipe = Recipe.load(folder / "r.yaml", ["train.monitor=val_mood_loss", "train.patience=1"])
    stop = recipe.build_callbacks(recipe.build().model, True)[0]
    assert (stop.mode, stop.patience) == ("min", 1)


def test_a_source_within_a_source(folder: Path) -> None:
    inner = {"csv": {"path": "data/mood.csv", "label": "mood"}}
    source = Recipe.load(folder / "r.yaml", {"sources.moods": {"unique": {"source": inner}}}).build_sources()["moods"]
    assert sum(len(list(source.examples(split))) for split in source.splits) == 8


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_loads_and_builds(path: Path) -> None:
    recipe = Recipe.load(path, {"data.cache_dir": None})
    encoder = next(iter(recipe.data["encoder"]))
    small = {"Recurrent": {"units": 4, "embedding": 4}, "Transformer": {"width": 8, "heads": 2, "layers": 1}}[encoder]
    if path.stem == "quickstart":  # Its corpora are large: sources, heads and encoder are made, nothing is read.
        sources = recipe.build_sources()
        assert [len(task.sources) for task in recipe.build_tasks(sources).values()] == [1] * 4
        return
    changes = {f"encoder.{encoder}.{key}": value for key, value in small.items()}
    run = Recipe.load(path, {"data.cache_dir": None, **changes}).build()
    assert set(run.model.task_names) == set(recipe.data["tasks"])
    next(iter(run.train.take(1)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("tasks.mood.source=[{a: 1}]", r"Unknown source '\{'a': 1\}'"),
        ("tasks.mood.source=[[x]]", r"Unknown source '\['x'\]'"),
        ("output={a: 1}", "expected 'output' as a folder's path; got {'a': 1}"),
        ("output=3", "expected 'output' as a folder's path; got 3"),
        ("baselines.mood=[[x]]", "Unknown baseline"),
    ],
)
def test_values_of_another_kind(folder: Path, change: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe.load(folder / "r.yaml", [change])


def test_penalties_readouts_and_tops(folder: Path) -> None:
    encoder = {"Transformer": {"tokenizer": {"learn": "word"}, "width": 8, "layers": 2, "heads": 2}}
    penalties = [{"L2SP": {"alpha": 0.5}}, {"TowardsMean": {"strength": 0.1, "parts": "head/*"}}]
    changes = {"encoder": encoder, "penalties": penalties, "tasks.mood.readout": "scalar_mix"}
    with pytest.raises(ValueError, match="TowardsMean expects parts with weights of the same shapes; 'head/mood'"):
        Recipe.load(folder / "r.yaml", changes).build()
    del penalties[1]
    model = Recipe.load(folder / "r.yaml", changes).build().model
    assert [type(penalty).__name__ for penalty in model.penalties] == ["L2SP"] and model.penalties[0].alpha == 0.5
    assert [task.readout for task in model.tasks] == ["scalar_mix", "last"] and set(model.readouts) == {"mood"}
    groups = {"Hard": {"top_layers": 1, "groups": {"both": ["mood", "places"]}}}
    cut = Recipe.load(folder / "r.yaml", {"encoder": encoder, "sharing": groups}).build().model
    assert cut.parts()["top/both"].tasks == ("mood", "places")


def test_modules_of_ones_own(folder: Path, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "own_things.py").write_text("""\
import keras, mtl

class Sizes(mtl.penalties.Penalty):
    def value(self):
        return sum(keras.ops.sum(keras.ops.abs(weight)) for weight in self.trained)

def moods(path: str) -> mtl.data.Source:
    return mtl.data.csv({"train": path}, label="mood")

class Stop(keras.callbacks.Callback):
    pass
""")
    changes = {
        "sources.moods": {"moods": {"path": "data/mood.csv"}},
        "penalties": [{"Sizes": {"parts": "head/*"}}],
        "train.callbacks": ["Stop"],
        "train.monitor": None,
        "baselines": None,
        "report": None,
    }
    with pytest.raises(ValueError, match="Unknown source 'moods'.* A class of your own: --import MODULE"):
        Recipe.load(folder / "r.yaml", changes)
    recipe = Recipe.load(folder / "r.yaml", changes, imports="own_things")
    run = recipe.build()
    (sizes,) = run.model.penalties
    assert set(sizes.chosen) == {"head/mood", "head/places"} and len(list(run.sources["moods"].examples("train"))) == 8
    assert type(recipe.build_callbacks(run.model, False)[0]).__name__ == "Stop"
