"""Sections of a recipe, and their keys."""

from typing import Any

from mtl.commands import catalogue
from mtl.commands.recipe_file import Document
from mtl.task import READOUTS
from mtl.training.strategies import STRATEGIES
from mtl.utils import brief, unknown_name

__all__ = ["SECTIONS", "check_sections", "listed"]

#: Section -> its keys; None if they are the user's names or those of an object.
SECTIONS: dict[str, tuple[str, ...] | None] = {
    "seed": None,
    "sources": None,
    "encoder": None,
    "tasks": None,
    "sharing": None,
    "balancer": None,
    "penalties": None,
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
TASK = ("source", "label", "source_label", "head", "readout")
#: Precisions: Keras's policies, or float32 with bfloat16 products on CPUs.
PRECISIONS = ("float32", "bfloat16_products", "mixed_bfloat16", "mixed_float16")
#: Arguments of `Checkpoint`.
CHECKPOINT = ("every_steps", "every_minutes", "keep")
#: Arguments of `BestModel` besides `monitor`.
MONITORING = ("mode", "baseline", "combine", "weights", "patience", "stop")
#: Arguments of `mtl.data.mix` that the builder of a recipe passes.
MIX_GIVEN = ("tasks", "encoder", "split", "seed", "shuffle")


def check_sections(document: Document) -> None:
    """Check the sections of a recipe, the names in them and their arguments, and make relative paths absolute, in place.

    Raises:
        ValueError: an unknown or missing section, name or argument, or an invalid value; with file and line.
    """
    data = document.data
    for section in data:
        if section not in SECTIONS:
            raise document.error((str(section),), unknown_name("section", section, SECTIONS))
    for section in NEEDED:
        if not data.get(section):
            raise document.error((section,), f"a recipe needs the section '{section}'. Add '{section}:'.")
    for section in ("sources", "tasks", "data", "train", "baselines", "report"):
        value = document.section(section)
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
        _check_task(document, task)
    _check_list(document, ("penalties",), "penalty")
    _check_data(document)
    _check_train(document)
    _check_baselines(document)
    _whole_number(document, ("seed",), 0)
    if not isinstance(data.get("output"), str | None):
        raise document.error(("output",), f"expected 'output' as a folder's path; got {brief(data['output'])}.")


def _check_task(document: Document, name: str) -> None:
    value = document.data["tasks"][name]
    route = ("tasks", str(name))
    if not isinstance(value, dict):
        raise document.error(route, f"expected task '{name}' as {{source: ..., head: ...}}; got {brief(value)}.")
    for key in value:
        if key not in TASK:
            raise document.error((*route, str(key)), unknown_name(f"key of task '{name}'", key, TASK))
    for key in ("source", "head"):
        if not value.get(key):
            raise document.error(route, f"task '{name}' needs a {key}. Add '{key}:'.")
    for source in listed(value["source"]):
        if source not in list(document.data["sources"]):
            raise document.error((*route, "source"), unknown_name("source", source, document.data["sources"]))
    if value.get("readout") not in (None, *READOUTS):
        raise document.error((*route, "readout"), unknown_name("readout", value["readout"], READOUTS))
    catalogue.check(document, (*route, "head"), "head")


def _check_data(document: Document) -> None:
    from mtl.data import mix

    catalogue.check_arguments(document, ("data",), mix, document.section("data"), MIX_GIVEN)


def _check_train(document: Document) -> None:
    train = document.section("train")
    if train.get("optimizer") is not None:
        catalogue.check(document, ("train", "optimizer"), "optimizer")
    _check_list(document, ("train", "callbacks"), "callback")
    for whole in (("train", "epochs"), ("train", "patience"), ("report", "limit")):
        _whole_number(document, whole, 1)
    choices = (("mode", ("min", "max")), ("combine", ("mean", "worst")), ("stop", ("best", "any")))
    for key, known in (*choices, ("precision", PRECISIONS), ("strategy", STRATEGIES)):
        if train.get(key) not in (None, *known):
            raise document.error(("train", key), unknown_name(key, train[key], known))
    route = ("train", "checkpoint")
    if not isinstance(saving := train.get("checkpoint") or {}, dict):
        raise document.error(route, f"expected 'checkpoint' as settings or false; got {brief(saving)}.")
    for key in [key for key in saving if key not in CHECKPOINT]:
        raise document.error((*route, str(key)), unknown_name("key of 'checkpoint'", key, CHECKPOINT))
    for key in MONITORING if not train.get("monitor") else ():
        if train.get(key) is not None:
            raise document.error(("train", key), f"'{key}' goes with 'monitor'. Add 'monitor: val_loss'.")


def _check_baselines(document: Document) -> None:
    from mtl.baselines import BASELINES

    for task, names in document.section("baselines").items():
        route = ("baselines", str(task))
        if task not in document.data["tasks"]:
            raise document.error(route, unknown_name("task", task, document.data["tasks"]))
        for name in listed(names):
            if name not in list(BASELINES):
                raise document.error(route, unknown_name("baseline", name, BASELINES))


def _check_list(document: Document, route: tuple[str, ...], kind: str) -> None:
    if not isinstance(named := document.find(route) or [], list):
        raise document.error(route, f"expected '{route[-1]}' as a list; got {brief(named)}.")
    for i in range(len(named)):
        catalogue.check(document, (*route, str(i)), kind)


def _whole_number(document: Document, route: tuple[str, ...], least: int) -> None:
    value = document.find(route)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
        name, got = ".".join(route), brief(value)
        raise document.error(route, f"expected '{name}' to be a whole number from {least}; got {got}.")


def listed(value: Any) -> list[Any]:
    """Return one value or several as a list; an empty list for None."""
    return list(value) if isinstance(value, (list, tuple)) else [] if value is None else [value]
