"""Data files of the command line, read like the files of a recipe."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mtl.utils import UnknownName, find_name, unknown_name

__all__ = ["tasks_of_files"]

logger = logging.getLogger(__name__)

#: Readers of files by suffix, used without a recipe.
KINDS = ("csv", "tsv", "jsonl", "conll", "conllu")
#: Argument that selects the labels of a source, by kind.
LABELS = {"csv": "label", "tsv": "label", "jsonl": "label", "conll": "columns", "conllu": "labels"}
#: Arguments that select the files and their splits.
FILES = ("path", "fractions", "seed")

Reading = tuple[str, dict[str, Any]]


def tasks_of_files(model: Any, files: Sequence[str], text: str | None, recipe: Any) -> list[Any]:
    """Return a model's tasks, each with the labels of its files as the split "test".

    Args:
        model: a `MultiTaskModel`.
        files: paths, each preceded by `TASK=` unless the model has one task; a task may have several.
        text: the text's field, or two with a comma between them; None for those of the recipe.
        recipe: a `Recipe` that reads files for the same tasks, or None.

    Raises:
        ValueError: an unknown task, or a file with an unknown format.
    """
    import mtl

    by_task: dict[str, list[str]] = {}
    for given in files:
        name, equals, path = given.partition("=")
        if not equals:
            if len(model.task_names) > 1:
                raise ValueError(f"The model has the tasks {list(model.task_names)}. Say which with --data TASK={given}.")
            name, path = model.task_names[0], given
        if name not in model.task_names:
            raise unknown_name("task", name, model.task_names)
        by_task.setdefault(name, []).append(path)
    tasks = []
    for name, paths in by_task.items():
        task = next(task for task in model.tasks if task.name == name)
        described = recipe.data["tasks"].get(name) if recipe else None
        label = (described or {}).get("label") or task.label
        sources, known = [], list(_readings(recipe, described))
        for path in paths:
            kind, settings = _reading(path, known)
            settings = _own_labels(kind, settings, name, label)
            if text and LABELS[kind] != "label":
                raise ValueError(f"--text names a field, and files of the kind {kind} have none; got '{path}'. Leave --text out.")
            if text:
                fields = text.split(",")
                settings["text"] = fields if len(fields) > 1 else text
            sources.append(_source(getattr(mtl.data, kind), path, settings))
        labelled = all(label in source.labels for source in sources)
        tasks.append(mtl.Task(name, task.head, sources, label if labelled else None))
    return tasks


def _source(read: Any, path: str, settings: Mapping[str, Any]) -> Any:
    """Return a file's source; if the file has no column for the recipe's weights, its examples have weight 1."""
    try:
        source = read({"test": path}, **settings)
        next(source.examples("test"), None)  # Columns of tables are checked when they are read.
        return source
    except UnknownName as error:
        if settings.get("weight") is None or error.name != settings["weight"]:
            raise
    logger.warning("%s has no column '%s' for weights: its examples all count 1.", path, settings["weight"])
    return read({"test": path}, **{**settings, "weight": None})


def _readings(recipe: Any, described: Mapping[str, Any] | None) -> Iterator[Reading]:
    """Yield the kinds and arguments with which a recipe reads the files of a task; sources may be nested."""
    named = (described or {}).get("source") or ()
    for name in [named] if isinstance(named, str) else named:
        yield from _within(recipe.data["sources"][name])


def _within(value: Any) -> Iterator[Reading]:
    if isinstance(value, Mapping):
        for name, arguments in value.items():
            kind = find_name(str(name), KINDS)
            if kind and isinstance(arguments, Mapping) and "path" in arguments:
                yield kind, dict(arguments)
            else:
                yield from _within(arguments)
    elif isinstance(value, list):
        for part in value:
            yield from _within(part)


def _reading(path: str, known: list[Reading]) -> Reading:
    """Return how the recipe reads a file, files with its suffix, or files of its kind; else the reader for its suffix."""
    file, ending = Path(path).absolute(), _ending(path)
    kind = find_name(ending.removeprefix("."), KINDS)
    for fits in (
        lambda paths, _: file in paths or any(folder in file.parents for folder in paths if folder.is_dir()),
        lambda paths, _: any(ending == _ending(other.name) for other in _files(paths)),
        lambda _, other: other == kind,
    ):
        for other, settings in known:
            if fits(_paths(settings["path"]), other):
                return other, settings
    if kind:
        return kind, {}
    if len(kinds := {other for other, _ in known}) == 1:  # All files of the task are read alike, whatever their names.
        return known[0]
    if kinds:
        raise ValueError(f"The recipe reads files of the kinds {sorted(kinds)}; '{path}' is like none of them. Rename it.")
    raise unknown_name("kind of file", ending, [f".{kind}" for kind in KINDS])


def _own_labels(kind: str, settings: Mapping[str, Any], name: str, label: str | None) -> dict[str, Any]:
    """Return the arguments without files, and without the labels of other tasks."""
    result = {argument: value for argument, value in settings.items() if argument not in FILES}
    argument, default = LABELS[kind], {"label": label or name} if LABELS[kind] == "label" else {}
    if argument not in result:
        return {**default, **result}
    given = result[argument]
    fields: dict[Any, Any] = {}
    if isinstance(given, Mapping):
        fields = dict(given)
    elif isinstance(given, str | int):
        fields = {str(given): given}
    else:
        fields = {str(field): i if kind == "conll" else field for i, field in enumerate(given or ()) if field is not None}
    own = next((field for field in (label, name, *(fields if len(fields) == 1 else ())) if field in fields), None)
    if own is None:  # An unknown label, which reading reports.
        return result
    result[argument] = [own] if kind == "conllu" else {own: fields[own]}
    if isinstance(convert := result.get("convert"), Mapping):
        result["convert"] = {field: function for field, function in convert.items() if field == own}
    return result


def _ending(path: str) -> str:
    return Path(path.removesuffix(".gz")).suffix


def _paths(given: Any) -> list[Path]:
    if isinstance(given, Mapping):
        return [path for value in given.values() for path in _paths(value)]
    return [Path(given)] if isinstance(given, str) else [Path(path) for path in given or ()]


def _files(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        yield from path.iterdir() if path.is_dir() else (path,)
