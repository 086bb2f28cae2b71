"""Folder of a run: the files that the run wrote, and its continuation from an earlier run."""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mtl.training.resume import snapshots
from mtl.utils.atomic_write import atomic_write, locked, made_folder

__all__ = ["Found", "RunFolder", "differences"]

MODEL, RECIPE, RESULTS = "model.keras", "recipe.yaml", "results.json"
#: Folder of TensorBoard's event files.
LOGS = "logs"
#: Folder of the checkpoints; the last one is kept for further epochs.
CHECKPOINTS = "checkpoints"
#: File that marks the folder of a run: its recipe, whether it has ended, and the digests of the files that it wrote.
MARKER = ".mtl-run.json"
LOCK = ".mtl-run.lock"
#: Parts of a recipe that only determine where and when files are written.
PLACES = (("output",), ("train", "checkpoint"), ("data", "cache_dir"))
#: Parts that only affect the use of a trained model.
REPORTS = ("report", "baselines")
#: Text for a part that a recipe lacks.
NOTHING = "nothing"


class Found(NamedTuple):
    """Contents of a folder before a run.

    Args:
        anew: whether the run starts again; else it continues from a checkpoint.
        said: a sentence that says so.
        finished: whether the run is complete.
        more: whether it continues to more epochs than before.
    """

    anew: bool
    said: str = ""
    finished: bool = False
    more: bool = False


class RunFolder:
    """Folder of the files of one run, in which only files that a run wrote are removed or replaced.

    Args:
        path: the folder; it need not exist.

    Example:

    >>> from mtl.recipe import Recipe, Document
    >>> records = {"records": {"data": [{"text": "so good", "mood": "up"}], "label": "mood"}}
    >>> tasks = {"mood": {"source": "moods", "head": "Classification"}}
    >>> recipe = Recipe(Document({"sources": {"moods": records}, "encoder": "Recurrent", "tasks": tasks}, {}, "moods.yaml"))
    >>> RunFolder("runs/moods").find(recipe)
    Found(anew=True, said='', finished=False, more=False)
    """

    def __init__(self, path: Any):
        self.path = Path(path)
        self._marker: dict[str, Any] = {}

    # Before the run -----------------------------------------------------------------------------------------------

    def find(self, recipe: Any, fresh: bool = False) -> Found:
        """Return the contents of the folder, and whether a recipe continues from them; nothing is written.

        Args:
            recipe: a `mtl.recipe.Recipe`.
            fresh: whether an existing run may be removed.

        Raises:
            NotADirectoryError: the folder is a file.
            FileExistsError: it holds files that no run wrote, with names that the run needs.
            ValueError: the existing run is of another recipe, or cannot continue, and `fresh` is not set.
        """
        if self.path.exists() and not self.path.is_dir():
            raise NotADirectoryError(f"A run expects a folder for its results; '{self.path}' is a file. Name another (--output).")
        marker = self._read()
        if marker is None:
            if others := sorted(path.name for path in self.path.glob("*") if not path.name.startswith(".")):
                raise FileExistsError(
                    f"A run expects a folder of its own; '{self.path}' holds '{others[0]}', which no run wrote. "
                    "Name a new folder (--output)."
                )
            return Found(anew=True)
        self._marker = marker
        self._check_own(recipe)
        last = snapshots.last_name(self.path / CHECKPOINTS)
        if fresh:
            return Found(True, f"Removing the run in '{self.path}', and beginning anew.")
        if not last and not (self.path / MODEL).exists():
            return Found(True, f"The run in '{self.path}' left no checkpoint: beginning anew.")
        return self._going_on(recipe, last)

    def _going_on(self, recipe: Any, last: str | None) -> Found:
        changed = differences(self._marker["recipe"], plain(recipe.data))
        changes = {path: pair for path, pair in changed.items() if path.partition(".")[0] not in REPORTS}
        more = list(changes) == ["train.epochs"] and recipe.epochs > changes["train.epochs"][0]
        if changes and not more:
            shown = [f"{path} was {_short(old)}, is {_short(new)}" for path, (old, new) in changes.items()]
            rest = f"; and {len(shown) - 4} more" if len(shown) > 4 else ""
            raise ValueError(
                f"'{self.path}' holds a run of another recipe: {'; '.join(shown[:4])}{rest}. "
                "Name another folder (--output), or remove that run and begin anew with --fresh."
            )
        if self._marker["finished"] and not changed:
            more_epochs = f"more epochs: --set train.epochs={2 * recipe.epochs}"
            said = f"The run in '{self.path}' is finished. For {more_epochs}; to begin anew: --fresh."
            return Found(False, said, finished=True)
        if not last:
            raise ValueError(
                f"'{self.path}' holds a model, but no checkpoint to go on from. "
                "Name another folder (--output), or remove that run and begin anew with --fresh."
            )
        said = f"Going on from the checkpoint '{last}' in '{self.path}'"
        if more:
            said += f", to {recipe.epochs} epochs from {changes['train.epochs'][0]}"
        return Found(False, f"{said}.", more=more)

    def _check_own(self, recipe: Any) -> None:
        for name in (MODEL, RECIPE, RESULTS):
            self._check_file(name)
        for name in (LOGS, CHECKPOINTS):
            if (self.path / name).exists() and not (self.path / name).is_dir():
                raise FileExistsError(f"A run expects a folder at '{self.path / name}', which is a file. Move it away.")
        if self._is_read(recipe) and (self.path / RECIPE).read_text("utf-8") != recipe.as_yaml():
            raise FileExistsError(
                f"'{self.path / RECIPE}' is read as the recipe, and the run would write it with its changes. "
                "Copy it to another place, and train the copy."
            )

    def _check_file(self, name: str) -> None:
        path = self.path / name
        if path.exists() and (not path.is_file() or _digest(path) not in self._marker["files"].get(name, ())):
            raise FileExistsError(
                f"'{path}' is not what a run wrote there, and would be replaced. Move it away, or name another folder (--output)."
            )

    def _is_read(self, recipe: Any) -> bool:
        file, own = Path(recipe.file), self.path / RECIPE
        return file.exists() and own.exists() and file.samefile(own)

    # During the run -----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Create the folder, and lock it for one run at a time, if the system can lock files.

        Raises:
            BlockingIOError: another run is writing there.
        """
        made_folder(self.path)
        (self.path / LOCK).touch()
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(locked(self.path / LOCK))
            except BlockingIOError as error:
                said = f"Another training is writing to '{self.path}'. Wait for its end, or name another (--output)."
                raise BlockingIOError(error.errno, said) from error
            yield

    def begin(self, recipe: Any, found: Found) -> None:
        """Mark the folder as this run's, after the earlier run is removed if this one starts again."""
        from mtl.callbacks.event_files import remove_logs

        if found.anew:
            for name in (MODEL, RESULTS):
                if (self.path / name).exists():
                    self._check_file(name)
                    (self.path / name).unlink()
            snapshots.remove_all(self.path / CHECKPOINTS)
            remove_logs(self.path / LOGS)
        self._mark(recipe=plain(recipe.data), finished=False)
        if not self._is_read(recipe):
            with self.writing(RECIPE) as beside:
                beside.write_text(recipe.as_yaml(), "utf-8")

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Yield a path for one of the run's files, which then replaces an earlier file if a run wrote it."""
        with atomic_write(self.path / name) as beside:
            yield beside
            self._check_file(name)
            # The earlier file is listed too: the process may end before the new one replaces it.
            files = self._marker["files"]
            self._mark(files={**files, name: [*files.get(name, ())[-1:], _digest(beside)]})

    def end(self) -> None:
        """Mark the run as finished, and remove all but the last of its checkpoints."""
        snapshots.remove_all(self.path / CHECKPOINTS, keep=1)
        self._mark(finished=True)

    def _read(self) -> dict[str, Any] | None:
        """Return the contents of the marker, or None."""
        path = self.path / MARKER
        if not path.exists():
            return None
        try:
            marker = json.loads(path.read_text("utf-8"))
            if {"mtl_run", "recipe", "finished", "files"} <= marker.keys() and isinstance(marker["recipe"], dict):
                return {**marker, "files": {name: list(digests) for name, digests in marker["files"].items()}}
        except (ValueError, TypeError, AttributeError, RecursionError):
            pass
        raise ValueError(f"'{path}', which says what in this folder is the run's, is damaged. Name another folder (--output).")

    def _mark(self, **changes: Any) -> None:
        self._marker = {"mtl_run": 1, "files": {}, **self._marker, **changes}
        with atomic_write(self.path / MARKER) as beside:
            beside.write_text(json.dumps(self._marker, ensure_ascii=False, indent=2), "utf-8")


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return path -> old and new value, or `"nothing"`, for the differences between two recipes, without places of files.

    Args:
        old: a recipe's data.
        new: another recipe's data.

    Example:

    >>> differences({"seed": 1, "train": {"epochs": 3}}, {"train": {"epochs": 4}, "output": "runs/my"})
    {'seed': (1, 'nothing'), 'train.epochs': (3, 4)}
    """
    sections = [{name: section for name, section in recipe.items() if section not in (None, {})} for recipe in (old, new)]
    flat = [dict(_leaves(recipe, ())) for recipe in sections]
    for leaves in flat:
        leaves["train", "epochs"] = leaves.get(("train", "epochs")) or 1
    paths = [path for path in {**flat[0], **flat[1]} if not any(path[: len(part)] == part for part in PLACES)]
    pairs = {".".join(path): (flat[0].get(path, NOTHING), flat[1].get(path, NOTHING)) for path in paths}
    return {path: pair for path, pair in pairs.items() if pair[0] != pair[1]}


def plain(data: Any) -> Any:
    """Return a recipe's data after conversion to JSON and back."""
    return json.loads(json.dumps(data))


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, Mapping) and (value or not path):
        for key, part in value.items():
            yield from _leaves(part, (*path, str(key)))
    else:
        yield path, value


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
