"""Recipes: YAML files that describe data, model, training and baselines."""

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import yaml

from mtl.backend import bfloat16_products
from mtl.commands import catalogue
from mtl.commands.imported_modules import import_modules
from mtl.commands.recipe_file import Document
from mtl.commands.sections import MONITORING, SECTIONS, check_sections, listed
from mtl.task import Task
from mtl.training.strategies import make_strategy
from mtl.utils import unknown_name

__all__ = ["Recipe", "Run"]

#: Arguments of `compile`.
COMPILE = ("steps_per_execution", "jit_compile", "skip_nonfinite")
#: Arguments of `mtl.data.mix` that apply to validation data too.
MIX_VALIDATION = ("batch_size", "buckets", "max_length", "cache_dir")


@dataclass(frozen=True)
class Run:
    """Objects built from a recipe: `sources` and `tasks` by name, `encoder`, `model` (compiled), and the datasets `train` and
    `validation` (None if no source has such a split)."""

    sources: dict[str, Any]
    tasks: dict[str, Any]
    encoder: Any
    model: Any
    train: Any
    validation: Any


class Recipe:
    """Recipe: plain data whose names refer to public objects of `mtl` and to Keras's optimizers.

    Names and arguments are checked when the recipe is read. Reading never runs code from the file; `Recipe.load(path,
    imports=["my_heads"])` imports a module of your own, whose classes the recipe may then name.

    Args:
        document: the recipe's data.

    Raises:
        ValueError: an unknown or missing section, name or argument, with file, line and the nearest match.

    Example:

    >>> import tempfile
    >>> text = '''
    ... sources:
    ...   moods: {records: {data: [{text: so good, mood: up}, {text: so bad, mood: down}], label: mood, fractions: null}}
    ... encoder:
    ...   Recurrent: {tokenizer: {learn: character}, embedding: 8, units: 4}
    ... tasks:
    ...   mood: {source: moods, head: Classification}
    ... '''
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "moods.yaml")
    ...     _ = path.write_text(text)
    ...     run = Recipe.load(path, ["encoder.Recurrent.units=6", "data.cache_dir=null"]).build()
    >>> run.encoder.width, run.model.heads["mood"].labels
    (12, ('down', 'up'))
    """

    def __init__(self, document: Document):
        self._document = document
        self.data = document.data
        self.file = Path(document.name)
        self.name = self.file.stem
        check_sections(document)

    @classmethod
    def load(cls, path: Any, settings: Iterable[str] | Mapping[str, Any] = (), imports: str | Iterable[str] = ()) -> "Recipe":
        """Read a recipe.

        Args:
            path: a YAML file. Relative paths in it are relative to its folder; `output` is relative to the current folder.
            settings: `PATH=VALUE` texts such as `"train.epochs=1"`, their values in YAML; or path -> value.
            imports: names of modules whose classes, and functions that return a source, the recipe may name. They are imported
                from the current folder or the Python path.
        """
        document = Document.read(Path(path), import_modules(imports))
        known: dict[tuple[str, ...], tuple[str, ...]] = {(name,): keys for name, keys in SECTIONS.items() if keys}
        known[()] = tuple(SECTIONS)
        document.set(settings, known)
        return cls(document)

    @property
    def modules(self) -> tuple[ModuleType, ...]:
        """The user's modules whose classes it may name."""
        return self._document.modules

    # Settings -----------------------------------------------------------------------------------------------------

    @property
    def seed(self) -> int:
        """The seed of weights, order and masking."""
        return self.data.get("seed") or 0

    @property
    def epochs(self) -> int:
        """Number of passes over the training data."""
        return self._document.section("train").get("epochs") or 1

    @property
    def training(self) -> dict[str, Any]:
        """The section `train`."""
        return self._document.section("train")

    @property
    def output(self) -> Path:
        """The folder of the results."""
        return Path(self.data.get("output") or Path("runs") / self.name)

    @property
    def reporting(self) -> dict[str, Any]:
        """The section `report`, with its defaults."""
        return {"split": "test", "limit": None, "batch_size": 64, **self._document.section("report")}

    @property
    def baselines(self) -> dict[str, list[str]]:
        """Baselines of each task, by its name."""
        return {task: listed(names) for task, names in self._document.section("baselines").items()}

    def as_yaml(self) -> str:
        """Return the recipe as it is used, with settings applied and absolute paths."""
        return yaml.safe_dump(self.data, allow_unicode=True, sort_keys=False, width=120)

    # Building -----------------------------------------------------------------------------------------------------

    def build_sources(self) -> dict[str, Any]:
        """Return the sources by name."""
        sources = {name: catalogue.construct(self._document, ("sources", name), "source") for name in self.data["sources"]}
        for name, source in sources.items():
            source.name = str(name)
        return sources

    def build_tasks(self, sources: Mapping[str, Any]) -> dict[str, Any]:
        """Return the tasks by name, on the sources of `build_sources`."""
        tasks = {}
        for name, value in self.data["tasks"].items():
            head = catalogue.construct(self._document, ("tasks", name, "head"), "head")
            with self._document.located(("tasks", name)):
                named = [sources[source] for source in listed(value["source"])]
                given = {key: value[key] for key in ("label", "source_label", "readout") if value.get(key) is not None}
                tasks[name] = Task(name, head, named, **given)
        return tasks

    def build_encoder(self, sources: Mapping[str, Any]) -> Any:
        """Return the encoder; a learned tokenizer is trained on the texts of the sources' training splits."""
        from mtl.data import Tokenizer

        def tokenizer(described: dict[str, Any]) -> Any:
            if "folder" in described:
                return Tokenizer.from_folder(described["folder"])
            kind, settings = described["learn"], {key: value for key, value in described.items() if key != "learn"}
            if not any("train" in source.splits for source in sources.values()):
                found = "; ".join(f"'{name}' has {', '.join(source.splits)}" for name, source in sources.items())
                raise ValueError(f"learning a tokenizer expects a source with a split 'train'; got {found}. Add training data.")
            return Tokenizer.learn(kind, training_texts(sources.values()), **settings)

        return catalogue.construct(self._document, ("encoder",), "encoder", tokenizer)

    def build(self) -> Run:
        """Set the seed, and build everything that `train` uses.

        Raises:
            ValueError: an object rejects its arguments, or the data is malformed.
            FileNotFoundError: a file of the recipe does not exist.
        """
        # First: several processes must connect before any other call of TensorFlow.
        strategy = make_strategy(self.training.get("strategy") or "one")
        precision, before = self.training.get("precision"), keras.config.dtype_policy()
        if precision is not None:
            bfloat16_products(on := precision == "bfloat16_products")
            keras.config.set_dtype_policy("float32" if on else precision)
        try:
            with strategy.scope() if strategy else contextlib.nullcontext():
                return self._build()
        finally:
            keras.config.set_dtype_policy(before)

    def _build(self) -> Run:
        from mtl.data import mix
        from mtl.model import MultiTaskModel

        keras.utils.set_random_seed(self.seed)
        sources = self.build_sources()
        tasks = self.build_tasks(sources)
        used = {name: sources[name] for value in self.data["tasks"].values() for name in listed(value["source"])}
        split, splits = self.reporting["split"], {split for source in used.values() for split in source.splits}
        if split not in splits and "split" in self._document.section("report"):
            raise self._document.error(("report", "split"), unknown_name("split", split, splits))
        encoder = self.build_encoder(used)
        parts = {
            kind: catalogue.construct(self._document, (kind,), kind)
            for kind in ("sharing", "balancer")
            if self.data.get(kind) is not None
        }
        parts["penalties"] = self._construct_all(("penalties",), "penalty")
        settings = dict(self._document.section("data"))
        if settings.get("sampling") == "annealed":
            settings.setdefault("epochs", self.epochs)
        if self.data.get("gradients_at") is not None:
            parts["gradients_at"] = self.data["gradients_at"]
        train = mix(list(tasks.values()), encoder, "train", seed=self.seed, **settings)
        validation = None
        if any("validation" in source.splits for source in used.values()):
            shared = {key: value for key, value in settings.items() if key in MIX_VALIDATION}
            validation = mix(list(tasks.values()), encoder, "validation", **shared)
        model = MultiTaskModel(encoder, list(tasks.values()), **parts)
        options = {key: self.training[key] for key in COMPILE if key in self.training}
        model.compile(self._optimizer(model, len(train) * self.epochs), **options)
        return Run(sources, tasks, encoder, model, train, validation)

    def _construct_all(self, route: tuple[str, ...], kind: str) -> list[Any]:
        described = self._document.find(route) or ()
        return [catalogue.construct(self._document, (*route, str(i)), kind) for i in range(len(described))]

    def _optimizer(self, model: Any, steps: int) -> Any:
        if self.training.get("optimizer") is None:
            return keras.optimizers.AdamW()
        return catalogue.construct(self._document, ("train", "optimizer"), "optimizer", given={"model": model, "steps": steps})

    def build_callbacks(self, model: Any, validated: bool) -> list[Any]:
        """Return the named callbacks and, for `monitor`, one that keeps the best weights and stops after `patience` epochs."""
        document, train = self._document, self.training
        made = self._construct_all(("train", "callbacks"), "callback")
        if monitored := listed(train.get("monitor")):
            from mtl.callbacks import BestModel

            logs = list(model.get_metrics_result())
            known = [*(f"val_{name}" for name in logs if validated), *logs]
            for name in monitored:
                if name not in known:
                    raise document.error(("train", "monitor"), unknown_name("figure to monitor", name, known))
            settings = {key: train[key] for key in MONITORING if train.get(key) is not None}
            with document.located(("train", "monitor")):
                made.append(BestModel(monitor=monitored, **settings))
        return made

    def train(self, output: Any = None, **options: Any) -> dict[str, Any]:
        """Build and train, compare with the baselines and write the results; see `mtl.commands.training_run.train`.

        Args:
            output: the folder of the results; by default the recipe's `output`.
            **options: arguments of `mtl.commands.training_run.train`.

        Returns:
            The contents of `results.json`.
        """
        from mtl.commands.training_run import train

        return train(self, output, **options)


def training_texts(sources: Iterable[Any]) -> Iterator[str]:
    """Yield all texts of the training splits, second texts too."""
    for source in sources:
        for example in source.examples("train") if "train" in source.splits else ():
            yield from itertools.compress((example.text, example.pair), (True, example.pair is not None))
