"""Run of a recipe: training, comparison with baselines, and results."""

import contextlib
import inspect
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
from rich.console import Console
from rich.markup import escape

from mtl.commands.catalogue import names_of
from mtl.commands.progress import EpochProgress
from mtl.commands.run_folder import CHECKPOINTS, LOGS, MARKER, MODEL, RESULTS, Found, RunFolder
from mtl.commands.shown import Table
from mtl.reports.metrics import better, main_metrics, shown
from mtl.training.replicas import together
from mtl.utils import find_name
from mtl.utils.atomic_write import atomic_write
from mtl.version import __version__

__all__ = ["check_json", "checkpoints", "show_mixture", "show_results", "train", "write_json"]


def train(recipe: Any, output: Any = None, *, console: Console | None = None, fresh: bool = False) -> dict[str, Any]:
    """Build a recipe, train it, compare it with its baselines, and write the results to a folder.

    The folder then holds `model.keras`, `recipe.yaml` (as used), `results.json`, `logs` for TensorBoard, and the last checkpoint
    in `checkpoints`. A run of the same recipe, or of one that differs only by more epochs, continues from there.

    Args:
        recipe: a `mtl.recipe.Recipe`.
        output: the folder; by default the recipe's.
        console: console for progress and tables; None for no output.
        fresh: whether to remove an existing run and start again.

    Returns:
        The contents of `results.json`; with several processes, the chief writes, and the others return an empty result.

    Raises:
        FileExistsError: the folder holds files that no run wrote.
        ValueError: the folder holds a run of another recipe, and `fresh` is not set.
    """
    console = console or Console(quiet=True)
    folder = RunFolder(output or recipe.output)
    found = folder.find(recipe, fresh)
    if found.finished:
        console.print(escape(found.said), highlight=False, soft_wrap=True)
        results = json.loads((folder.path / RESULTS).read_text("utf-8"))
        show_results(results, console)
        return results
    start = time.perf_counter()
    with console.status("Reading the data and building the model"):
        run = recipe.build()
    chief = run.model.distribute_strategy.extended.should_checkpoint
    console = console if chief else Console(quiet=True)
    seconds = {"build": time.perf_counter() - start}
    with folder.alone() if chief else contextlib.nullcontext():
        found = folder.find(recipe, fresh) if chief else found  # Again, now that no other run can write there.
        results = _train(recipe, run, folder, found, console, seconds, chief)
    together(run.model.distribute_strategy)  # A process that ends would end the others.
    return results


def _train(
    recipe: Any, run: Any, folder: RunFolder, found: Found, console: Console, seconds: dict[str, float], chief: bool
) -> dict[str, Any]:
    from mtl.baselines import compare
    from mtl.callbacks import TaskBoard

    show_mixture(run, console)
    # Before the training, so that a baseline that does not fit its task is reported now.
    split, limit = recipe.reporting["split"], recipe.reporting["limit"]
    baselines: dict[str, Any] = {}
    for task, names in recipe.baselines.items() if chief else ():
        with console.status(f"Training the baselines of '{task}': {', '.join(names)}"):
            baselines[task] = compare(run.tasks[task], names, split, limit, recipe.seed)
    seconds["baselines"] = sum(each["seconds"] for by_name in baselines.values() for each in by_name.values())

    if chief:
        folder.begin(recipe, found)
    together(run.model.distribute_strategy)  # The others look for checkpoints only after those of an earlier run are removed.
    for said in (found.said, spans_training(recipe) if found.more else ""):
        if said:
            console.print(escape(said), highlight=False, soft_wrap=True)
    console.print(f"\nTraining {run.model.count_params():,} weights for {recipe.epochs} epochs of {len(run.train)} steps.")
    saving = checkpoints(recipe, folder.path)
    start, validation = time.perf_counter(), run.validation
    progress = EpochProgress(
        console, list(run.tasks), {name for names in validation.mixture.groups for name in names} if validation else ()
    )
    callbacks = [
        *recipe.build_callbacks(run.model, validation is not None),
        *saving,
        TaskBoard(folder.path / LOGS),
        progress,
    ]
    try:
        fitted = run.model.fit(run.train, validation_data=validation, epochs=recipe.epochs, callbacks=callbacks, verbose=0)
    finally:
        progress.stop()
    seconds["training"] = time.perf_counter() - start
    if not chief:
        return {}
    with folder.writing(MODEL) as beside:
        run.model.save(beside)

    start = time.perf_counter()
    with console.status(f"Predicting the split '{split}'"):
        labelled = any(next(task.labelled(split), None) for task in run.tasks.values() if task.head.predicts)
        settings = {"batch_size": recipe.reporting["batch_size"], "limit": limit, "seed": recipe.seed}
        scores = run.model.report(split, **settings) if labelled else {}
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
    with folder.writing(RESULTS) as beside:
        beside.write_text(as_json(results), "utf-8")
    folder.end()
    show_results(results, console)
    show_next(folder.path, console, recipe.modules)
    return results


def checkpoints(recipe: Any, folder: Path) -> list[Any]:
    """Return the callback that lets an interrupted training continue, if the recipe wants one."""
    from mtl.callbacks import Checkpoint

    if (settings := recipe.training.get("checkpoint")) is False:
        return []
    when = {} if settings and {"every_steps", "every_minutes"} & settings.keys() else {"every_minutes": 10}
    return [Checkpoint(folder / CHECKPOINTS, **when, **(settings or {}))]


def spans_training(recipe: Any) -> str:
    """Return a sentence about settings that depend on the total of epochs, so that none can be added; or an empty text."""
    optimizer, options = recipe.training.get("optimizer"), names_of("optimizer", recipe.modules)
    name = find_name(optimizer if isinstance(optimizer, str) else next(iter(optimizer or [""])), options)
    spread = ["learning rate"] if name and "steps" in inspect.signature(options[name]).parameters else []
    spread += ["sampling"] if (recipe.data.get("data") or {}).get("sampling") == "annealed" else []
    if not spread:
        return ""
    were = "were" if len(spread) > 1 else "was"
    return f"The {' and the '.join(spread)} {were} spread over fewer epochs until here: one run of all these epochs would differ."


def verdicts(scores: Mapping[str, Any], baselines: Mapping[str, Any]) -> dict[str, dict[str, bool]]:
    """Return task -> main figure -> whether the model is better than the best baseline."""
    result: dict[str, dict[str, bool]] = {}
    for task, by_name in baselines.items():
        for figure in main_metrics(scores[task], [each["metrics"] for each in by_name.values()]):
            others = [each["metrics"][figure] for each in by_name.values() if figure in each["metrics"]]
            if others:
                result.setdefault(task, {})[figure] = all(better(figure, scores[task][figure], other) for other in others)
    return result


def as_json(value: Any) -> str:
    """Return a value as indented JSON."""
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"


def write_json(path: Path, value: Any, of_training: bool = False) -> None:
    """Write figures as JSON, atomically, to a new file or in place of figures of the same kind."""
    check_json(path, of_training)
    with atomic_write(path) as beside:
        beside.write_text(as_json(value), "utf-8")


def check_json(path: Path | None, of_training: bool = False) -> None:
    """Check that figures can be written to a file, before they are computed.

    Args:
        path: the file; None for none.
        of_training: whether they are the results of a training, or else the figures of each task.

    Raises:
        FileNotFoundError: there is no such folder.
        FileExistsError: the file holds something other than such figures, or belongs to a run.
    """
    if path is None:
        return
    if not path.parent.is_dir():
        raise FileNotFoundError(f"--json expects a file in a folder that exists; there is no '{path.parent}'. Make it.")
    if not path.exists():
        return
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        found = None
    if path.name == RESULTS and (path.parent / MARKER).exists():
        raise FileExistsError(f"--json replaces nothing but figures of the same command; '{path}' is a run's. Name another file.")
    alike = isinstance(found, dict) and (
        {"recipe", "history", "scores"} <= found.keys()
        if of_training
        else all(isinstance(figures, dict) and "examples" in figures for figures in found.values())
    )
    if not alike:
        raise FileExistsError(
            f"--json replaces nothing but figures of the same command; '{path}' holds something else. Name another file."
        )


# Tables -----------------------------------------------------------------------------------------------------------


def show_mixture(run: Any, console: Console) -> None:
    """Show the tasks with their labels, and the examples in an epoch."""
    table = Table(title="Tasks", title_justify="left")
    for column in ("task", "head", "sources", "labels"):
        table.add_column(column)
    for name, task in run.tasks.items():
        labels = task.head.labels
        sources = escape(", ".join(source.name for source in task.sources))
        table.add_row(name, type(task.head).__name__, sources, str(len(labels)) if labels else "")
    console.print(table)
    mixture = run.train.mixture
    realised = mixture.realised()
    table = Table(title="One epoch of training", title_justify="left")
    for column, justify in (("rows labelled for", "left"), ("examples", "right"), ("drawn", "right"), ("share", "right")):
        table.add_column(column, justify=justify)
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
    """Show each task's main figures, and those of its baselines."""
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
    for task, scores in results["scores"].items():
        if "unknown" in scores:
            console.print(f"  {task}: {scores['unknown']:,} labels that training did not know are left out.", highlight=False)
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


def show_next(folder: Path, console: Console, modules: Sequence[ModuleType] = ()) -> None:
    """Show the folder of the results, and commands that use it, with the modules that the model needs."""
    model = folder / MODEL
    imports = "".join(f" --import {module.__name__}" for module in modules)
    console.print(f"\nModel: {model}\nResults: {folder / RESULTS}\nLogs: {folder / LOGS}\n\nNext:", highlight=False)
    for command in (
        f"tensorboard --logdir {folder / LOGS}",
        f"echo 'a text' | mtl predict {folder} -{imports}",
        f"mtl evaluate {folder}{imports}",
        f"mtl export {folder} {folder / 'export'}{imports}",
    ):
        console.print(f"  {command}", highlight=False, soft_wrap=True)
