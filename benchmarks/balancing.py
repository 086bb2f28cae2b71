"""What a training step costs with each balancer, beside plain training and beside TorchJD on PyTorch.

python -m benchmarks.balancing cost --records cost.jsonl
python -m benchmarks.balancing bars --records cost.jsonl
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.balancing_step import PEERS, SIZES, Setting, measure
from benchmarks.records import Records, machine

__all__ = ["BARS", "Bar", "app", "bar_table", "cost_table", "ratio"]

PLAIN = "Static"
Figures = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Bar:
    """How many plain steps a step may cost, with 3 tasks.

    Args:
        title: for the table.
        method: a balancer's name.
        rows: `"own"` or `"shared"`.
        at: `"parameters"` or `"representation"`.
        most: the limit.
    """

    title: str
    method: str
    rows: str
    at: str
    most: float


BARS = (
    Bar(title="gradients of parameters, rows of one task each", method="PCGrad", rows="own", at="parameters", most=1.25),
    Bar(title="gradients of parameters, shared rows", method="PCGrad", rows="shared", at="parameters", most=1.9),
    Bar(title="gradients of the representation, shared rows", method="PCGrad", rows="shared", at="representation", most=1.1),
    Bar(title="losses only, shared rows", method="UncertaintyWeighting", rows="shared", at="parameters", most=1.02),
)


def ratio(figures: Figures, plain: Figures, of: str = "milliseconds") -> float:
    """How many times as much as plain training."""
    return figures[of] / plain[of]


def run(setting: Setting, timeout: float) -> dict[str, float]:
    """What `measure` gives, from a process of its own, so that its peak of memory is the setting's.

    Raises:
        RuntimeError: the process failed, or took too long.
    """
    command = [sys.executable, "-m", "benchmarks.balancing", "one", json.dumps(asdict(setting))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"took more than {timeout:.0f} s") from error
    if done.returncode:
        raise RuntimeError((done.stderr.strip() or "failed without a word").splitlines()[-1])
    return json.loads(done.stdout.splitlines()[-1])


def measured(settings: Iterable[Setting], records: Records, timeout: float, console: Console) -> dict[Setting, dict[str, float]]:
    """The figures of the settings that could be measured; for each of the others a line says why not."""
    result = {}
    for setting in settings:
        try:
            result[setting] = records.get(asdict(setting), lambda setting=setting: run(setting, timeout))  # type: ignore[misc]
            said = f"{result[setting]['milliseconds']:.0f} ms, {result[setting]['peak_mib']:.0f} MiB"
        except RuntimeError as error:
            said = f"[red]{error}[/red]"
        console.print(f"{setting.side}, {setting.method}, {setting.tasks} tasks, {setting.rows} rows, {setting.at}: {said}")
    return result


# Tables ---------------------------------------------------------------------------------------------------------------


def cost_table(results: Mapping[Setting, Figures], title: str) -> Table:
    """A row for each number of tasks and method: time over the plain step of the same side, absolute time, and memory.

    Args:
        results: settings that differ in side, method and tasks only.
        title: of the table.
    """
    found = {(setting.side, setting.method, setting.tasks): figures for setting, figures in results.items()}
    sides = [side for side in ("mtl", "torchjd") if any(key[0] == side for key in found)]
    table = Table(title=title)
    table.add_column("K", justify="right")
    table.add_column("method")
    for side in sides:
        table.add_column(side, justify="right")
    for count in sorted({setting.tasks for setting in results}):
        for method in dict.fromkeys(setting.method for setting in results if setting.tasks == count):
            table.add_row(str(count), method, *(_cell(found, side, method, count) for side in sides))
        table.add_section()
    return table


def _cell(found: Mapping[tuple[str, str, int], Figures], side: str, method: str, count: int) -> str:
    figures, plain = found.get((side, method, count)), found.get((side, PLAIN, count))
    if figures is None:
        return "-"
    size = f"{figures['milliseconds']:.0f} ms, {figures['peak_mib']:.0f} MiB"
    return size if plain is None or method == PLAIN else f"{ratio(figures, plain):.2f} x ({size})"


def bar_table(results: Mapping[Setting, Figures]) -> Table:
    """Each bar's ratio beside its limit, with the peer's.

    Args:
        results: figures of the bars' settings and of the plain steps with the same rows.
    """
    table = Table(title="Three tasks: time of a step, in plain steps of the same side")
    for name, where in (
        ("what", "left"),
        ("method", "left"),
        ("at most", "right"),
        ("mtl", "right"),
        ("", "left"),
        ("torchjd", "right"),
    ):
        table.add_column(name, justify=where)  # type: ignore[arg-type]
    for bar in BARS:
        cells = {side: _bar_ratio(results, bar, side) for side in ("mtl", "torchjd")}
        ours = cells["mtl"]
        verdict = "" if ours is None else "within" if ours <= bar.most else "beyond"
        shown = {side: "-" if value is None else f"{value:.2f}" for side, value in cells.items()}
        table.add_row(bar.title, bar.method, f"{bar.most:g}", shown["mtl"], verdict, shown["torchjd"])
    return table


def _bar_ratio(results: Mapping[Setting, Figures], bar: Bar, side: str) -> float | None:
    found = {
        setting.method: figures
        for setting, figures in results.items()
        if setting.side == side
        and setting.rows == bar.rows
        and (setting.method, setting.at) in ((bar.method, bar.at), (PLAIN, "parameters"))
    }
    return ratio(found[bar.method], found[PLAIN]) if {bar.method, PLAIN} <= set(found) else None


def document(results: Mapping[Setting, Figures]) -> dict[str, Any]:
    """All figures and the machine they were taken on, JSON-ready."""
    return {"machine": machine(), "results": [{**asdict(setting), **figures} for setting, figures in results.items()]}


# Command --------------------------------------------------------------------------------------------------------------

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)

RecordsFile = Annotated[
    Path | None, typer.Option("--records", metavar="FILE", help="Keep figures there, and do not measure again what it holds.")
]
JsonFile = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all figures there.")]
Steps = Annotated[int, typer.Option(min=1, help="Steps timed, after two that are not.")]
Timeout = Annotated[float, typer.Option(help="Seconds that one measurement may take.")]
Peer = Annotated[bool, typer.Option(help="Measure TorchJD too: pip install '.[bench]'.")]
SizeName = Annotated[str, typer.Option(help=f"One of {', '.join(SIZES)}.")]


@app.command()
def cost(
    tasks: Annotated[str, typer.Option(help="Numbers of tasks, with commas between them.")] = "2,4,8,16",
    methods: Annotated[str, typer.Option(help="Names with commas between them; by default all.")] = "",
    rows: Annotated[str, typer.Option(help="own: each row is labelled for one task; shared: for all.")] = "own",
    at: Annotated[str, typer.Option(help="parameters or representation.")] = "parameters",
    size: SizeName = "minilm",
    steps: Steps = 8,
    peer: Peer = True,
    timeout: Timeout = 600.0,
    records: RecordsFile = None,
    json_file: JsonFile = None,
) -> None:
    """Time and memory of a step with each method, for several numbers of tasks."""
    names = _methods(methods)
    for value, values, what in (
        (rows, ("own", "shared"), "rows"),
        (at, ("parameters", "representation"), "place"),
        (size, SIZES, "size"),
    ):
        _known(value, values, what)
    settings = [
        Setting(side=side, method=method, tasks=count, rows=rows, at=at, size=size, steps=steps)
        for count in (int(each) for each in tasks.split(","))
        for method in names
        for side in (("mtl", "torchjd") if peer and method in PEERS else ("mtl",))
    ]
    title = f"A step in plain steps of the same side ({size}, {rows} rows, gradients of {at})"
    _finish(settings, records, timeout, json_file, lambda results: cost_table(results, title))


@app.command()
def bars(
    size: SizeName = "minilm",
    steps: Steps = 8,
    peer: Peer = True,
    timeout: Timeout = 600.0,
    records: RecordsFile = None,
    json_file: JsonFile = None,
) -> None:
    """Four costs with three tasks, beside the limits that they are to keep."""
    _known(size, SIZES, "size")
    wanted = [(PLAIN, rows, "parameters") for rows in ("own", "shared")] + [(bar.method, bar.rows, bar.at) for bar in BARS]
    settings = [
        Setting(side=side, method=method, tasks=3, rows=rows, at=at, size=size, steps=steps)
        for method, rows, at in wanted
        for side in (("mtl", "torchjd") if peer else ("mtl",))
    ]
    _finish(settings, records, timeout, json_file, bar_table)


@app.command(hidden=True)
def one(setting: str) -> None:
    """Measures one setting in this process and prints its figures."""
    typer.echo(json.dumps(measure(Setting(**json.loads(setting)))))


def _finish(settings: Sequence[Setting], records: Path | None, timeout: float, json_file: Path | None, table: Any) -> None:
    console = Console()
    results = measured(settings, Records(records), timeout, console)
    console.print(table(results))
    if json_file is not None:
        json_file.write_text(json.dumps(document(results), indent=1) + "\n", "utf-8")
    if len(results) < len(settings):
        console.print(f"{len(settings) - len(results)} of {len(settings)} could not be measured; see above.")
        raise typer.Exit(1)


def _methods(given: str) -> list[str]:
    """Plain training first, then those asked for."""
    from mtl.commands.catalogue import names_of

    known = list(names_of("balancer"))
    names = given.split(",") if given else known
    for name in names:
        _known(name, known, "balancer")
    return [PLAIN, *(name for name in names if name != PLAIN)]


def _known(value: str, values: Iterable[str], what: str) -> None:
    from mtl.utils import unknown_name

    if value not in values:
        raise typer.BadParameter(str(unknown_name(what, value, list(values))))


if __name__ == "__main__":
    app()
