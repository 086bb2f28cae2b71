"""What the benchmarks of speed share: two sides timed in turn, their spread, the machine, and a model of MiniLM's size."""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

import mtl

__all__ = ["MINILM", "VOCABULARY", "cell", "finish", "lengths_of", "minilm", "paired", "peer", "ratios", "resident", "spread"]

VOCABULARY = 30_000
#: MiniLM: 22.7 M parameters, 10.6 M of them in products.
MINILM: dict[str, Any] = {"width": 384, "layers": 6, "heads": 12, "feedforward": 1536}
#: Small enough for a test.
TINY: dict[str, Any] = {"width": 32, "layers": 1, "heads": 2, "feedforward": 64}


# Timing ---------------------------------------------------------------------------------------------------------------


def paired(sides: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds that each side took in each round; in a round all take their turn, so that what slows the machine slows all."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in list(sides)[:: -1 if number % 2 else 1]:
            began = time.perf_counter()
            sides[name]()
            taken[name].append(time.perf_counter() - began)
    return taken


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and greatest."""
    return {"median": statistics.median(values), "least": min(values), "greatest": max(values)}


def ratios(above: Sequence[float], below: Sequence[float]) -> dict[str, float]:
    """The spread of `above / below`, round by round."""
    return spread([one / other for one, other in zip(above, below, strict=True)])


def cell(of: Mapping[str, float], digits: int = 2, scale: float = 1.0) -> str:
    """A spread as it stands in a table."""
    median, least, greatest = (f"{of[key] * scale:,.{digits}f}" for key in ("median", "least", "greatest"))
    return f"{median} ({least} to {greatest})"


def resident() -> float:
    """Memory that the process holds, in MB."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


# Models and data ------------------------------------------------------------------------------------------------------


def minilm(tokenizer: Any = None, quick: bool = False) -> mtl.encoders.Encoder:
    """An encoder of MiniLM's size, from scratch, with a tokenizer or for integers; of one small block where it is to be quick."""
    sizes: dict[str, Any] = TINY if quick else MINILM
    return mtl.encoders.Transformer(tokenizer, vocabulary_size=VOCABULARY if tokenizer is None else None, **sizes)


def lengths_of(corpus: str, data_dir: Path | None, number: int, seed: int = 0) -> np.ndarray:
    """Lengths in tokens of some texts: of the corpus in `data_dir`, or else drawn with about its mean and spread.

    Args:
        corpus: `"snips"`, utterances; `"sick"`, pairs of sentences; or `"news"`, articles cut at 256 tokens.
        data_dir: the folder that holds `snips/train/seq.in` and `sick/SICK_train.txt`; None to draw.
        number: how many.
        seed: of the draw.
    """
    rng = np.random.default_rng([seed, len(corpus)])
    files = {"snips": "snips/train/seq.in", "sick": "sick/SICK_train.txt"}
    if data_dir is not None and corpus in files:
        lines = (data_dir / files[corpus]).read_text("utf-8").splitlines()
        columns = [line.split("\t")[1:3] for line in lines[1:]] if corpus == "sick" else [[line] for line in lines]
        found = np.array([sum(len(text.split()) for text in texts) for texts in columns])
        return rng.choice(found, number)
    mean, deviation, greatest = {"snips": (9, 3, 35), "sick": (19, 6, 60), "news": (250, 110, 254)}[corpus]
    return np.clip(rng.normal(mean, deviation, number).round(), 2, greatest).astype(int)


def peer(package: str) -> None:
    """Checks that a package to measure against is installed."""
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError as error:
        raise typer.BadParameter(f"the other side needs '{package}', which is not installed: pip install '.[bench]'") from error


# Results --------------------------------------------------------------------------------------------------------------


def finish(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], figures: Any, json_file: Path | None) -> None:
    """Prints a table and writes all figures with the machine they were taken on."""
    table = Table(title=title)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)  # What a row leaves out stays empty.
    Console(width=150).print(table)
    if json_file is not None:
        machine = {"cpus": os.cpu_count(), "load": os.getloadavg()[0], "processor": _processor()}
        document = {"figures": figures, "machine": machine, "versions": _versions()}
        json_file.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _versions() -> dict[str, str]:
    versions = {"mtl": mtl.__version__, "python": platform.python_version()}
    for package in ("keras", "tensorflow", "torch", "transformers", "datasets", "tokenizers"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
