"""One run of a recipe: train, compare with the baselines, write the results."""

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
from rich.console import Console
from rich.table import Table

from mtl.commands.progress import EpochProgress
from mtl.reports.metrics import better, main_metrics, shown
from mtl.training.replicas import together
from mtl.utils.atomic_write import atomic_write
from mtl.version import __version__

__all__ = ["checkpoints", "remove", "show_mixture", "show_results", "train", "write_json"]

#: The folder of the checkpoints of a training that has not ended yet.
CHECKPOINTS = "checkpoints"
#: The folder of TensorBoard's event files.
LOGS = "logs"


def train(recipe: Any, output: Any = None, *, console: Console | None = None) -> dict[str, Any]:
    """Builds a recipe, trains it, compares it with its baselines, and writes everything to a folder.

    The folder then holds `model.keras`, `recipe.yaml` (as used), `results.json` and, for TensorBoard, `logs`.

    Args:
        recipe: a `mtl.recipe.Recipe`.
        output: the folder; by default the recipe's.
        console: where progress and tables are shown; None shows nothing.

    Returns:
        What `results.json` holds; of several processes the chief writes, and the others have an empty result.
    """
    console = console or Console(quiet=True)
    start = time.perf_counter()
    with console.status("Reading the data and building the model"):
        run = recipe.build()
    chief = run.model.distribute_strategy.extended.should_checkpoint
    console = console if chief else Console(quiet=True)
    folder = Path(output or recipe.output)
    seconds = {"build": time.perf_counter() - start}
    with alone(folder) if chief else contextlib.nullcontext():
        results = _train(recipe, run, folder, console, seconds, chief)
    together(run.model.distribute_strategy)  # A process that ends takes the others along.
    return results


def _train(recipe: Any, run: Any, folder: Path, console: Console, seconds: dict[str, float], chief: bool) -> dict[str, Any]:
    from mtl.baselines import compare
    from mtl.callbacks import TaskBoard

    show_mixture(run, console)
    # Before the training: a baseline that does not fit its task is found now, not at the end.
    split, limit = recipe.reporting["split"], recipe.reporting["limit"]
    baselines: dict[str, Any] = {}
    for task, names in recipe.baselines.items() if chief else ():
        with console.status(f"Training the baselines of '{task}': {', '.join(names)}"):
            baselines[task] = compare(run.tasks[task], names, split, limit, recipe.seed)
    seconds["baselines"] = sum(each["seconds"] for by_name in baselines.values() for each in by_name.values())

    if chief:
        write(folder / "recipe.yaml", recipe.as_yaml())
    console.print(f"\nTraining {run.model.count_params():,} weights for {recipe.epochs} epochs of {len(run.train)} steps.")
    saving = checkpoints(recipe, folder)
    if chief and not any(each.folder.exists() for each in saving):
        remove(folder / LOGS)  # Of another training.
    start, validation = time.perf_counter(), run.validation
    progress = EpochProgress(
        console, list(run.tasks), {name for names in validation.mixture.groups for name in names} if validation else ()
    )
    callbacks = [
        *recipe.build_callbacks(run.model, validation is not None),
        *saving,
        TaskBoard(folder / LOGS),
        progress,
    ]
    try:
        fitted = run.model.fit(run.train, validation_data=validation, epochs=recipe.epochs, callbacks=callbacks, verbose=0)
    finally:
        progress.stop()
    seconds["training"] = time.perf_counter() - start
    if not chief:
        return {}
    with atomic_write(folder / "model.keras") as beside:
        run.model.save(beside)

    start = time.perf_counter()
    with console.status(f"Predicting the split '{split}'"):
        found = any(split in source.splits for task in run.tasks.values() for source in task.sources)
        settings = {"batch_size": recipe.reporting["batch_size"], "limit": limit, "seed": recipe.seed}
        scores = run.model.report(split, **settings) if found else {}
    seconds["report"] = time.perf_counter() - start
    results = {
        "recipe": recipe.name,
        "versions": {"mtl": __version__, "keras": keras.__version__},
        "seed": recipe.seed,
        "parameters": run.model.count_params(),
        "labels": {name: list(labels) for name, task in run.tasks.items() if (labels := task.head.labels)},
        "mixture": run.train.mixture.realised(),
        "history": {name: [float(value) for value in values] for name, values in fitted.history.items()},
        "split": split,
        "scores": scores,
        "baselines": baselines,
        "verdicts": verdicts(scores, baselines),
        "seconds": seconds,
    }
    write_json(folder / "results.json", results)
    for each in saving:
        remove(each.folder)
    with contextlib.suppress(OSError):  # It holds those of another recipe.
        (folder / CHECKPOINTS).rmdir()
    show_results(results, console)
    show_next(folder, console)
    return results


def checkpoints(recipe: Any, folder: Path) -> list[Any]:
    """What has the training go on where the same recipe was ended; another recipe begins anew."""
    from mtl.callbacks import Checkpoint

    if (settings := recipe.training.get("checkpoint")) is False:
        return []
    name = hashlib.sha256(recipe.as_yaml().encode()).hexdigest()[:12]
    when = {} if settings and {"every_steps", "every_minutes"} & settings.keys() else {"every_minutes": 10}
    return [Checkpoint(folder / CHECKPOINTS / name, **when, **(settings or {}))]


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Makes a folder, and keeps it to one training at a time, where the system can lock files; a process that ends lets go of it.

    Raises:
        BlockingIOError: another training is writing there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / ".training"
    with open(lock, "wb") as file:
        if os.name == "posix":
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                said = f"Another training is writing to '{folder}'. Wait for its end, or give this one another folder (--output)."
                raise BlockingIOError(error.errno, said) from error
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def remove(folder: Path) -> None:
    """Removes a folder; no part of it is left under its name."""
    if folder.exists():
        gone = folder.with_name(f".{folder.name}.removing")
        shutil.rmtree(gone, ignore_errors=True)
        os.replace(folder, gone)
        shutil.rmtree(gone, ignore_errors=True)


def verdicts(scores: Mapping[str, Any], baselines: Mapping[str, Any]) -> dict[str, dict[str, bool]]:
    """Task -> main figure -> whether the model beats the best baseline."""
    result: dict[str, dict[str, bool]] = {}
    for task, by_name in baselines.items():
        for figure in main_metrics(scores[task], [each["metrics"] for each in by_name.values()]):
            others = [each["metrics"][figure] for each in by_name.values() if figure in each["metrics"]]
            if others:
                result.setdefault(task, {})[figure] = all(better(figure, scores[task][figure], other) for other in others)
    return result


def write(path: Path, text: str) -> None:
    """Writes a file at once: it holds the old text or the new one, never a part."""
    with atomic_write(path) as beside:
        beside.write_text(text, "utf-8")


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file at once."""
    write(Path(path), json.dumps(value, ensure_ascii=False, indent=2) + "\n")


# Tables -----------------------------------------------------------------------------------------------------------


def show_mixture(run: Any, console: Console) -> None:
    """What was built: tasks with their labels, and what an epoch holds."""
    table = Table(title="Tasks", title_justify="left")
    for column in ("task", "head", "sources", "labels"):
        table.add_column(column)
    for name, task in run.tasks.items():
        labels = task.head.labels
        sources = ", ".join(source.name for source in task.sources)
        table.add_row(name, type(task.head).__name__, sources, str(len(labels)) if labels else "")
    console.print(table)
    mixture = run.train.mixture
    realised = mixture.realised()
    table = Table(title="One epoch of training", title_justify="left")
    for column, justify in (("rows labelled for", "left"), ("examples", "right"), ("drawn", "right"), ("share", "right")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for names, size in zip(mixture.groups, mixture.sizes, strict=True):
        group = "+".join(names)
        table.add_row(", ".join(names), f"{size:,}", f"{realised['rows'][group]:,}", f"{realised['shares'][group]:.1%}")
    console.print(table)
    truncated = sum(mixture.truncated.values())
    console.print(
        f"{len(run.train):,} batches of {mixture.batch_size} rows, padded to {', '.join(map(str, mixture.buckets))} tokens; "
        f"{realised['padding']:.1%} of them padding; {truncated:,} texts cut."
    )


def show_results(results: Mapping[str, Any], console: Console) -> None:
    """Each task's main figures, beside its baselines' where there are any."""
    baselines = results.get("baselines", {})
    table = Table(title=f"Figures on the split '{results['split']}'", title_justify="left")
    table.add_column("task")
    table.add_column("figure")
    table.add_column("model", justify="right", style="bold")
    for column in ("best baseline", "other baselines", "verdict") if baselines else ():
        table.add_column(column)
    for task, scores in results["scores"].items():
        first = f"{task} ({scores['examples']:,})"
        for figure in main_metrics(scores, [each["metrics"] for each in baselines.get(task, {}).values()]):
            cells = [first, figure, shown(scores[figure])]
            first = ""
            if baselines:
                cells += _beside(figure, scores[figure], baselines.get(task, {}))
            table.add_row(*cells)
    console.print(table)
    seconds = results.get("seconds", {})
    if seconds:
        console.print("Seconds: " + ", ".join(f"{name} {value:.1f}" for name, value in seconds.items()) + ".")
    for task, by_name in baselines.items():
        console.print(f"  {task}: " + ", ".join(f"{name} {each['seconds']:.1f}" for name, each in by_name.items()) + ".")


def _beside(figure: str, value: float, baselines: Mapping[str, Any]) -> list[str]:
    others = {name: each["metrics"][figure] for name, each in baselines.items() if figure in each["metrics"]}
    if not others:
        return ["", "", ""]
    best = next(iter(others))
    for name, other in others.items():
        if better(figure, other, others[best]):
            best = name
    rest = ", ".join(f"{name} {shown(other)}" for name, other in others.items() if name != best)
    won = better(figure, value, others[best])
    verdict = "[green]better[/green]" if won else "[yellow]not better[/yellow]"
    return [f"{best} {shown(others[best])}", rest, verdict]


def show_next(folder: Path, console: Console) -> None:
    """Where the results lie, and what to do with them."""
    model = folder / "model.keras"
    console.print(f"\nModel: {model}\nResults: {folder / 'results.json'}\nLogs: {folder / LOGS}\n\nNext:", highlight=False)
    for command in (
        f"tensorboard --logdir {folder / LOGS}",
        f"echo 'a text' | mtl predict {folder} -",
        f"mtl evaluate {folder}",
        f"mtl export {folder} {folder / 'export'}",
    ):
        console.print(f"  {command}", highlight=False, soft_wrap=True)
