"""A whole training as a YAML file: what is read, what is built, how it is trained and what it is compared with."""

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import yaml

from mtl.backend import bfloat16_products
from mtl.commands import catalogue
from mtl.commands.recipe_file import Document
from mtl.training.strategies import STRATEGIES, make_strategy
from mtl.utils import brief, unknown_name

__all__ = ["Recipe", "Run"]

#: section -> its keys; None where they are the user's own names or an object's.
SECTIONS: dict[str, tuple[str, ...] | None] = {
    "seed": None,
    "sources": None,
    "encoder": None,
    "tasks": None,
    "sharing": None,
    "balancer": None,
    "gradients_at": None,
    "data": None,
    "train": (
        "epochs",
        "optimizer",
        "monitor",
        "mode",
        "baseline",
        "combine",
        "weights",
        "patience",
        "stop",
        "callbacks",
        "precision",
        "steps_per_execution",
        "jit_compile",
        "skip_nonfinite",
        "strategy",
        "checkpoint",
    ),
    "baselines": None,
    "report": ("split", "limit", "batch_size"),
    "output": None,
}
NEEDED = ("sources", "encoder", "tasks")
TASK = ("source", "label", "head")
#: What a model computes in: Keras's policies, or float32 with the CPU's bfloat16 products.
PRECISIONS = ("float32", "bfloat16_products", "mixed_bfloat16", "mixed_float16")
#: Arguments of `compile`, and of `Checkpoint`.
COMPILE = ("steps_per_execution", "jit_compile", "skip_nonfinite")
CHECKPOINT = ("every_steps", "every_minutes", "keep")
#: Arguments of `BestModel` beside `monitor`.
MONITORING = ("mode", "baseline", "combine", "weights", "patience", "stop")
#: Arguments of `mtl.data.mix` that the recipe gives itself, and those that validation data takes too.
MIX_GIVEN = ("tasks", "encoder", "split", "seed", "shuffle")
MIX_VALIDATION = ("batch_size", "buckets", "max_length", "cache_dir")


@dataclass(frozen=True)
class Run:
    """What a recipe builds: `sources` and `tasks` by name, `encoder`, `model` (compiled), and the datasets `train` and
    `validation` (None where no source has such a split)."""

    sources: dict[str, Any]
    tasks: dict[str, Any]
    encoder: Any
    model: Any
    train: Any
    validation: Any


class Recipe:
    """A recipe: plain data whose names stand for public objects of `mtl` and of Keras's optimizers.

    Names and arguments are checked when the recipe is read. Reading never runs code of the file's.

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
        self._check()

    @classmethod
    def load(cls, path: Any, overrides: Iterable[str] | Mapping[str, Any] = ()) -> "Recipe":
        """Reads a recipe.

        Args:
            path: a YAML file. Relative paths in it are relative to its folder; `output` is relative to the current folder.
            overrides: `PATH=VALUE` texts such as `"train.epochs=1"`, their values in YAML; or path -> value.
        """
        document = Document.read(Path(path))
        known: dict[tuple[str, ...], tuple[str, ...]] = {(name,): keys for name, keys in SECTIONS.items() if keys}
        known[()] = tuple(SECTIONS)
        document.set(overrides, known)
        return cls(document)

    # Checking -----------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        document, data = self._document, self.data
        for section in data:
            if section not in SECTIONS:
                raise document.error((str(section),), unknown_name("section", section, SECTIONS))
        for section in NEEDED:
            if not data.get(section):
                raise document.error((section,), f"a recipe needs the section '{section}'. Add '{section}:'.")
        for section in ("sources", "tasks", "data", "train", "baselines", "report"):
            value = self._section(section)
            keys = SECTIONS[section]
            for key in value if keys else ():
                if key not in keys:  # type: ignore[operator]
                    raise document.error((section, str(key)), unknown_name(f"key of '{section}'", key, keys or ()))
        for source in data["sources"]:
            catalogue.check(document, ("sources", source), "source")
        catalogue.check(document, ("encoder",), "encoder")
        for kind in ("sharing", "balancer"):
            if data.get(kind) is not None:
                catalogue.check(document, (kind,), kind)
        for task in data["tasks"]:
            self._check_task(task)
        self._check_data()
        self._check_train()
        self._check_baselines()
        self._whole_number(("seed",), 0)
        if not isinstance(data.get("output"), str | None):
            raise document.error(("output",), f"expected 'output' as a folder's path; got {brief(data['output'])}.")

    def _check_task(self, name: str) -> None:
        document, value = self._document, self.data["tasks"][name]
        route = ("tasks", str(name))
        if not isinstance(value, dict):
            raise document.error(route, f"expected task '{name}' as {{source: ..., head: ...}}; got {brief(value)}.")
        for key in value:
            if key not in TASK:
                raise document.error((*route, str(key)), unknown_name(f"key of task '{name}'", key, TASK))
        for key in ("source", "head"):
            if not value.get(key):
                raise document.error(route, f"task '{name}' needs a {key}. Add '{key}:'.")
        for source in _listed(value["source"]):
            if source not in list(self.data["sources"]):
                raise document.error((*route, "source"), unknown_name("source", source, self.data["sources"]))
        catalogue.check(document, (*route, "head"), "head")

    def _check_data(self) -> None:
        from mtl.data import mix

        catalogue.check_arguments(self._document, ("data",), mix, self._section("data"), MIX_GIVEN)

    def _check_train(self) -> None:
        train = self._section("train")
        if train.get("optimizer") is not None:
            catalogue.check(self._document, ("train", "optimizer"), "optimizer")
        if not isinstance(callbacks := train.get("callbacks") or [], list):
            raise self._document.error(("train", "callbacks"), f"expected 'callbacks' as a list; got {brief(callbacks)}.")
        for i in range(len(callbacks)):
            catalogue.check(self._document, ("train", "callbacks", str(i)), "callback")
        for whole in (("train", "epochs"), ("train", "patience"), ("report", "limit")):
            self._whole_number(whole, 1)
        choices = (("mode", ("min", "max")), ("combine", ("mean", "worst")), ("stop", ("best", "any")))
        for key, known in (*choices, ("precision", PRECISIONS), ("strategy", STRATEGIES)):
            if train.get(key) not in (None, *known):
                raise self._document.error(("train", key), unknown_name(key, train[key], known))
        route = ("train", "checkpoint")
        if not isinstance(saving := train.get("checkpoint") or {}, dict):
            raise self._document.error(route, f"expected 'checkpoint' as settings or false; got {brief(saving)}.")
        for key in [key for key in saving if key not in CHECKPOINT]:
            raise self._document.error((*route, str(key)), unknown_name("key of 'checkpoint'", key, CHECKPOINT))
        for key in MONITORING if not train.get("monitor") else ():
            if train.get(key) is not None:
                raise self._document.error(("train", key), f"'{key}' goes with 'monitor'. Add 'monitor: val_loss'.")

    def _check_baselines(self) -> None:
        from mtl.baselines import BASELINES

        for task, names in self._section("baselines").items():
            route = ("baselines", str(task))
            if task not in self.data["tasks"]:
                raise self._document.error(route, unknown_name("task", task, self.data["tasks"]))
            for name in _listed(names):
                if name not in list(BASELINES):
                    raise self._document.error(route, unknown_name("baseline", name, BASELINES))

    def _section(self, name: str) -> dict[str, Any]:
        value = self.data.get(name)
        if value is not None and not isinstance(value, dict):
            raise self._document.error((name,), f"expected '{name}' to hold 'key: value' lines; got {brief(value)}.")
        return value or {}

    def _whole_number(self, route: tuple[str, ...], least: int) -> None:
        section: Any = self.data
        for key in route[:-1]:
            section = section.get(key) or {}
        value = section.get(route[-1])
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
            name, got = ".".join(route), brief(value)
            raise self._document.error(route, f"expected '{name}' to be a whole number from {least}; got {got}.")

    # Settings -----------------------------------------------------------------------------------------------------

    @property
    def seed(self) -> int:
        """The seed of weights, order and masking."""
        return self.data.get("seed") or 0

    @property
    def epochs(self) -> int:
        """How often the training data is passed over."""
        return self._section("train").get("epochs") or 1

    @property
    def training(self) -> dict[str, Any]:
        """The section `train`."""
        return self._section("train")

    @property
    def output(self) -> Path:
        """The folder of the results."""
        return Path(self.data.get("output") or Path("runs") / self.name)

    @property
    def reporting(self) -> dict[str, Any]:
        """The section `report`, with its defaults."""
        return {"split": "test", "limit": None, "batch_size": 64, **self._section("report")}

    @property
    def baselines(self) -> dict[str, list[str]]:
        """Task -> the baselines it is compared with."""
        return {task: _listed(names) for task, names in self._section("baselines").items()}

    def as_yaml(self) -> str:
        """The recipe as it is used: with its overrides, and with absolute paths."""
        return yaml.safe_dump(self.data, allow_unicode=True, sort_keys=False, width=120)

    # Building -----------------------------------------------------------------------------------------------------

    def build_sources(self) -> dict[str, Any]:
        """The sources by name."""
        sources = {name: catalogue.construct(self._document, ("sources", name), "source") for name in self.data["sources"]}
        for name, source in sources.items():
            source.name = str(name)
        return sources

    def build_tasks(self, sources: Mapping[str, Any]) -> dict[str, Any]:
        """The tasks by name, on sources that `build_sources` gave."""
        from mtl.task import Task

        tasks = {}
        for name, value in self.data["tasks"].items():
            head = catalogue.construct(self._document, ("tasks", name, "head"), "head")
            with self._document.located(("tasks", name)):
                tasks[name] = Task(name, head, [sources[source] for source in _listed(value["source"])], value.get("label"))
        return tasks

    def build_encoder(self, sources: Mapping[str, Any]) -> Any:
        """The encoder; a tokenizer that is to be learned sees the training split's texts of the sources."""
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
        """Builds everything that `train` uses, seeded.

        Raises:
            ValueError: an object does not take its arguments, or the data is malformed.
            FileNotFoundError: a file of the recipe does not exist.
        """
        # Before all else: several processes must know each other before anything runs on TensorFlow.
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
        used = {name: sources[name] for value in self.data["tasks"].values() for name in _listed(value["source"])}
        split, splits = self.reporting["split"], {split for source in used.values() for split in source.splits}
        if split not in splits and "split" in self._section("report"):
            raise self._document.error(("report", "split"), unknown_name("split", split, splits))
        encoder = self.build_encoder(used)
        parts = {
            kind: catalogue.construct(self._document, (kind,), kind)
            for kind in ("sharing", "balancer")
            if self.data.get(kind) is not None
        }
        settings = dict(self._section("data"))
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

    def _optimizer(self, model: Any, steps: int) -> Any:
        if self.training.get("optimizer") is None:
            return keras.optimizers.AdamW()
        return catalogue.construct(self._document, ("train", "optimizer"), "optimizer", given={"model": model, "steps": steps})

    def build_callbacks(self, model: Any, validated: bool) -> list[Any]:
        """The callbacks: those named, and for `monitor` one that keeps the best weights and stops after `patience` epochs."""
        document, train = self._document, self.training
        named = range(len(train.get("callbacks") or ()))
        made = [catalogue.construct(document, ("train", "callbacks", str(i)), "callback") for i in named]
        if monitored := _listed(train.get("monitor")):
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
        """Builds, trains, compares with the baselines and writes the results; see `mtl.commands.training_run.train`.

        Args:
            output: the folder of the results; by default the recipe's `output`.
            **options: of `mtl.commands.training_run.train`.

        Returns:
            What `results.json` holds.
        """
        from mtl.commands.training_run import train

        return train(self, output, **options)


def training_texts(sources: Iterable[Any]) -> Iterator[str]:
    """All texts, second texts too, of the training splits."""
    for source in sources:
        for example in source.examples("train") if "train" in source.splits else ():
            yield from itertools.compress((example.text, example.pair), (True, example.pair is not None))


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [] if value is None else [value]
