"""How good the models are that each balancer trains: three tasks on one encoder, beside models of one task each.

python -m benchmarks.balancing_quality --data-dir DIR --quick --records quality.jsonl
"""

import json
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import typer
from rich.console import Console
from rich.table import Table

import mtl
from benchmarks.records import Records, machine
from mtl.commands.catalogue import names_of

__all__ = ["FIGURES", "SCALES", "Scale", "app", "gain", "single_task", "sources", "table", "train"]

#: Task -> the figure that counts: intent and slots label the same rows, relatedness others.
FIGURES = {"intent": "accuracy", "slots": "span_f1", "relatedness": "pearson"}
SINGLE = "single task"
Runs = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much is trained.

    Args:
        rows: of each corpus's training split; None for all.
        tested: rows of each test split; None for all.
        units: of one direction of the BiLSTM, and the width of the embeddings.
        vocabulary: pieces of words.
        epochs: passes over the rows.
    """

    rows: int | None
    tested: int | None
    units: int
    vocabulary: int
    epochs: int
    batch_size: int = 64
    learning_rate: float = 3e-3


SCALES = {
    "quick": Scale(rows=2000, tested=500, units=64, vocabulary=2000, epochs=4, batch_size=32, learning_rate=5e-3),
    "full": Scale(rows=None, tested=None, units=128, vocabulary=4000, epochs=10),
}

#: The methods that want an argument, or are nothing without one, from the number of steps.
ARGUMENTS: dict[str, Callable[[int], dict[str, Any]]] = {
    "Scheduled": lambda steps: {"schedules": {"relatedness": [[0, 0.2], [steps, 1.0]]}},
    "CRMOGM": lambda steps: {"balancer": "MGDA"},
}
METHODS = tuple(names_of("balancer"))


# Training -------------------------------------------------------------------------------------------------------------


def sources(data_dir: Path, scale: Scale) -> dict[str, mtl.data.Source]:
    """Task -> its source; SNIPS (Goo et al. 2018) and SICK (Marelli et al. 2014)."""
    snips = _first(mtl.data.triples(data_dir / "snips"), scale)
    files = {"train": "SICK_train.txt", "validation": "SICK_trial.txt", "test": "SICK_test_annotated.txt"}
    sick = mtl.data.tsv(
        {split: data_dir / "sick" / file for split, file in files.items()},
        text=("sentence_A", "sentence_B"),
        label={"relatedness": "relatedness_score"},
        convert={"relatedness": float},
    )
    return {"intent": snips, "slots": snips, "relatedness": _first(sick, scale)}


def _first(source: mtl.data.Source, scale: Scale) -> mtl.data.Source:
    """Some examples of each split, drawn once and kept."""
    from mtl.utils.sampling import sample

    sizes = {"train": scale.rows, "test": scale.tested}
    kept = {split: sample(source.examples(split), sizes.get(split)) for split in source.splits}

    def start(split: str) -> Callable[[], Iterator[mtl.data.Example]]:
        return lambda: iter(kept[split])

    return mtl.data.Source(source.name, {split: start(split) for split in kept}, source.labels)


def train(
    by_task: Mapping[str, mtl.data.Source], tokenizer: mtl.data.Tokenizer, method: str, seed: int, at: str, scale: Scale
) -> dict[str, Any]:
    """Trains one model of the given tasks and scores it on their test splits.

    Args:
        by_task: task -> source.
        tokenizer: of all models, so that they differ in nothing but the balancer.
        method: a balancer's name.
        seed: of weights, dropout and the order of the rows.
        at: where the gradients are taken, for methods that need them.
        scale: how much is trained.

    Returns:
        `test`: task -> its figure in percent, and `seconds` of making and training the model.
    """
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    began = time.perf_counter()
    encoder = mtl.encoders.Recurrent(tokenizer, embedding=scale.units, units=scale.units, dropout=0.3)
    heads = {"intent": mtl.heads.Classification, "slots": mtl.heads.Tagging, "relatedness": mtl.heads.Regression}
    tasks = [mtl.Task(name, heads[name](), source) for name, source in by_task.items()]
    rows = mtl.data.mix(tasks, encoder, batch_size=scale.batch_size, seed=seed, cache_dir=None)
    steps = scale.epochs * len(rows)
    balancer = mtl.balancing.get({method: ARGUMENTS[method](steps) if method in ARGUMENTS else {}})
    where: dict[str, Any] = {} if balancer.needs == "losses" else {"gradients_at": at}
    model = mtl.MultiTaskModel(encoder, tasks, balancer=balancer, **where)
    optimizer = mtl.transfer.adamw(model, scale.learning_rate, steps=steps, schedule="cosine", global_clipnorm=1.0)
    model.compile(optimizer)
    model.fit(rows, epochs=scale.epochs, verbose=0)
    seconds = time.perf_counter() - began
    report = model.report("test")
    return {"test": {task: 100 * report[task][FIGURES[task]] for task in by_task}, "seconds": seconds}


# Figures --------------------------------------------------------------------------------------------------------------


def single_task(runs: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Task -> the mean of its figure over the runs of models of that task alone."""
    values: dict[str, list[float]] = {}
    for run in runs:
        for task, value in run["test"].items():
            values.setdefault(task, []).append(value)
    return {task: statistics.fmean(each) for task, each in values.items()}


def gain(test: Mapping[str, float], alone: Mapping[str, float]) -> float:
    """The mean over the tasks of `(figure - single) / single`, in percent.

    Raises:
        ValueError: a task alone has learned nothing.
    """
    for task in test:
        if alone[task] <= 0:
            raise ValueError(f"A gain over '{task}' alone expects a figure above 0 there; got {alone[task]:.1f}. Train longer.")
    return 100 * statistics.fmean((test[task] - alone[task]) / alone[task] for task in test)


def table(runs: Runs, alone: Mapping[str, float]) -> Table:
    """A row for each method, the best mean gain first.

    Args:
        runs: method -> what `train` gives, once a seed.
        alone: what `single_task` gives.
    """
    result = Table(title="Test splits, mean ± standard deviation over seeds; gain over models of one task each")
    for column in ("method", *(f"{task} {figure}" for task, figure in FIGURES.items()), "gain %", "seeds", "seconds"):
        result.add_column(column, justify="left" if column == "method" else "right")
    result.add_row(SINGLE, *(f"{alone[task]:.1f}" for task in FIGURES), "0", "", "")
    result.add_section()
    gains = {method: [gain(run["test"], alone) for run in each] for method, each in runs.items()}
    for method in sorted(runs, key=lambda each: -statistics.fmean(gains[each])):
        cells = [_spread([run["test"][task] for run in runs[method]]) for task in FIGURES]
        seconds = statistics.fmean(run["seconds"] for run in runs[method])
        result.add_row(method, *cells, _spread(gains[method]), str(len(runs[method])), f"{seconds:.0f}")
    return result


def _spread(values: Sequence[float]) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.fmean(values):.1f} ± {deviation:.1f}"


def document(runs: Runs, alone: Mapping[str, float], scale: Scale, at: str) -> dict[str, Any]:
    """All figures and the machine they were taken on, JSON-ready."""
    results = {
        method: {"gain": statistics.fmean(gain(run["test"], alone) for run in each), "runs": list(each)}
        for method, each in runs.items()
    }
    return {"scale": asdict(scale), "gradients_at": at, "single_task": dict(alone), "results": results, "machine": machine()}


# Command --------------------------------------------------------------------------------------------------------------

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def quality(
    data_dir: Annotated[Path, typer.Option(help="The folder that holds snips/ and sick/.")],
    methods: Annotated[str, typer.Option(help="Names with commas between them; by default all.")] = ",".join(METHODS),
    seeds: Annotated[int, typer.Option(min=1, help="Trainings with each method, with the seeds 0, 1, ...")] = 3,
    at: Annotated[str, typer.Option(help="Where gradients are taken: parameters or representation.")] = "parameters",
    quick: Annotated[bool, typer.Option(help="2,000 rows of each corpus, a small encoder, 4 epochs.")] = False,
    epochs: Annotated[int | None, typer.Option(min=1, help="In place of the scale's own.")] = None,
    records: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep figures there, and do not train again what it holds.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all figures there.")] = None,
) -> None:
    """Intent and slots of SNIPS, and relatedness of SICK's pairs, with each balancer and each seed."""
    names = methods.split(",")
    for value, known, what in [*((name, METHODS, "balancer") for name in names), (at, ("parameters", "representation"), "place")]:
        if value not in known:
            raise typer.BadParameter(str(mtl.utils.unknown_name(what, value, list(known))))
    scale = SCALES["quick" if quick else "full"]
    scale = Scale(**{**asdict(scale), "epochs": epochs or scale.epochs})
    by_task, kept, console = sources(data_dir, scale), Records(records), Console()
    texts = [text for source in dict.fromkeys(by_task.values()) for example in source.examples() for text in _texts(example)]
    tokenizer = mtl.data.Tokenizer.learn("wordpiece", texts, size=scale.vocabulary, lowercase=True)

    def run(tasks: Sequence[str], method: str, seed: int) -> dict[str, Any]:
        setting = {"tasks": list(tasks), "method": method, "seed": seed, "at": at, "scale": asdict(scale)}
        if len(tasks) == 1 or mtl.balancing.get({method: ARGUMENTS[method](1) if method in ARGUMENTS else {}}).needs == "losses":
            setting["at"] = ""
        found = kept.get(setting, lambda: train({task: by_task[task] for task in tasks}, tokenizer, method, seed, at, scale))
        figures = ", ".join(f"{task} {value:.1f}" for task, value in found["test"].items())
        console.print(f"{method if len(tasks) > 1 else SINGLE}, seed {seed}: {figures}; {found['seconds']:.0f} s")
        return found

    alone = single_task(run([task], "Static", seed) for seed in range(seeds) for task in FIGURES)
    gain(alone, alone)  # Where a task alone has learned nothing, that is said at once.
    runs: dict[str, list[dict[str, Any]]] = {}
    failed = 0
    for name in names:
        for seed in range(seeds):
            try:
                runs.setdefault(name, []).append(run(list(FIGURES), name, seed))
            except ValueError as error:
                failed += 1
                console.print(f"[red]{name}, seed {seed}: {error}[/red]")
    runs = {name: each for name, each in runs.items() if each}
    console.print(table(runs, alone))
    if json_file is not None:
        json_file.write_text(json.dumps(document(runs, alone, scale, at), indent=1) + "\n", "utf-8")
    if failed:
        console.print(f"{failed} trainings failed; see above.")
        raise typer.Exit(1)


def _texts(example: mtl.data.Example) -> list[str]:
    return [example.text] if example.pair is None else [example.text, example.pair]


if __name__ == "__main__":
    app()
