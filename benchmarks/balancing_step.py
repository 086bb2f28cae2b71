"""What one training step costs, measured in the process that calls `measure`: with `mtl`, or with TorchJD on PyTorch."""

import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["PEERS", "SIZES", "Setting", "Size", "batch", "measure", "summary"]

WARM_UP = 2
CLASSES = 4


@dataclass(frozen=True, kw_only=True)
class Size:
    """A Transformer encoder and its batches."""

    layers: int
    width: int
    heads: int
    feedforward: int
    vocabulary: int
    rows: int
    length: int


SIZES = {
    "minilm": Size(layers=6, width=384, heads=12, feedforward=1536, vocabulary=30522, rows=32, length=64),
    "small": Size(layers=2, width=64, heads=4, feedforward=256, vocabulary=2000, rows=64, length=16),
}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One measurement.

    Args:
        side: `"mtl"` or `"torchjd"`.
        method: a balancer's name; `Static` is plain training.
        tasks: K.
        rows: `"own"`, each row labelled for one task, or `"shared"`, for all.
        at: `"parameters"` or `"representation"`, where the gradients of a method that needs them are taken.
        size: a key of `SIZES`.
        steps: how many are timed.
    """

    side: str
    method: str
    tasks: int
    rows: str = "own"
    at: str = "parameters"
    size: str = "minilm"
    steps: int = 8


def batch(setting: Setting) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Token ids `[B, S]`, classes `[B]` and the weights of the rows for the tasks, `[K, B]`."""
    size, draw = SIZES[setting.size], np.random.default_rng(0)
    ids = draw.integers(1, size.vocabulary, (size.rows, size.length), dtype=np.int32)
    classes = draw.integers(0, CLASSES, size.rows, dtype=np.int32)
    if setting.rows == "shared":
        return ids, classes, np.ones((setting.tasks, size.rows), np.float32)
    if setting.tasks > size.rows:
        raise ValueError(
            f"{setting.tasks} tasks with rows of their own expect as many rows; size '{setting.size}' has {size.rows}."
        )
    owners = np.arange(size.rows) % setting.tasks
    return ids, classes, (owners[None, :] == np.arange(setting.tasks)[:, None]).astype(np.float32)


def summary(seconds: Sequence[float], before: float, peak: float) -> dict[str, float]:
    """Milliseconds of a step (the median and the least), and MiB: all at the peak, and what the steps took of it."""
    times = [1000 * each for each in seconds]
    return {
        "milliseconds": statistics.median(times),
        "least_milliseconds": min(times),
        "peak_mib": peak,
        "step_mib": peak - before,
    }


def measure(setting: Setting) -> dict[str, float]:
    """Trains for some steps and tells what they cost. Peak memory is that of the whole process: call it once in each.

    Args:
        setting: what to measure.

    Raises:
        ValueError: TorchJD has no such method.
    """
    step = _mtl_step(setting) if setting.side == "mtl" else _torch_step(setting)
    before = _memory_now()
    seconds = step(WARM_UP + setting.steps)[WARM_UP:]
    return summary(seconds, before, _memory_peak())


def _memory_peak() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def _memory_now() -> float:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


# mtl ------------------------------------------------------------------------------------------------------------------


def _mtl_step(setting: Setting) -> Callable[[int], list[float]]:
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    import keras
    import tensorflow as tf

    import mtl

    size = SIZES[setting.size]
    encoder = mtl.encoders.Transformer(
        vocabulary_size=size.vocabulary,
        width=size.width,
        layers=size.layers,
        heads=size.heads,
        feedforward=size.feedforward,
        max_length=size.length,
        segments=0,
    )
    names = [f"task_{i}" for i in range(setting.tasks)]
    balancer = mtl.balancing.get(_arguments(setting.method))
    where: dict[str, Any] = {} if balancer.needs == "losses" else {"gradients_at": setting.at}
    tasks = [mtl.Task(name, mtl.heads.Classification(CLASSES)) for name in names]
    model = mtl.MultiTaskModel(encoder, tasks, balancer=balancer, **where)
    model.compile(keras.optimizers.AdamW(3e-5))
    ids, classes, weights = batch(setting)
    y, weight = dict.fromkeys(names, classes), dict(zip(names, weights, strict=True))
    data = tf.data.Dataset.from_tensors(({"token_ids": ids}, y, weight))

    class Clock(keras.callbacks.Callback):
        def __init__(self) -> None:
            super().__init__()
            self.ends: list[float] = []

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.ends.append(time.perf_counter())

    def run(steps: int) -> list[float]:
        clock = Clock()
        began = time.perf_counter()
        model.fit(data.repeat(steps), verbose=0, callbacks=[clock])
        return np.diff([began, *clock.ends]).tolist()

    return run


def _arguments(method: str) -> Any:
    return {method: {"balancer": "MGDA"}} if method == "CRMOGM" else method


# TorchJD --------------------------------------------------------------------------------------------------------------

#: Method -> how TorchJD's is made, from its `aggregation` and the number of tasks. Those without a name are plain training.
PEERS: dict[str, Callable[[Any, int], Any] | None] = {
    "Static": None,
    "MGDA": lambda library, tasks: library.MGDA(),
    "CRMOGM": lambda library, tasks: library.GramianWeightedAggregator(library.CRMOGMWeighting(library.MGDAWeighting())),
    "PCGrad": lambda library, tasks: library.PCGrad(),
    "GradVac": lambda library, tasks: library.GradVac(beta=0.01),
    "CAGrad": lambda library, tasks: library.CAGrad(c=0.5),
    "IMTLG": lambda library, tasks: library.IMTLG(),
    "NashMTL": lambda library, tasks: library.NashMTL(n_tasks=tasks),
    "FairGrad": lambda library, tasks: library.FairGrad(alpha=1.0),
    "AlignedMTL": lambda library, tasks: library.AlignedMTL(),
    "ConFIG": lambda library, tasks: library.ConFIG(),
    "DualProj": lambda library, tasks: library.DualProj(),
    "UPGrad": lambda library, tasks: library.UPGrad(),
    "GradDrop": lambda library, tasks: library.GradDrop(),
    "ExcessMTL": lambda library, tasks: library.ExcessMTL(robust_step_size=0.01),
    "UncertaintyWeighting": lambda library, tasks: library.UW(tasks),
    "IMTLL": lambda library, tasks: library.IMTLL(tasks),
    "DWA": lambda library, tasks: library.DWA(),
    "RLW": lambda library, tasks: library.Random(),
    "GLS": lambda library, tasks: library.GeometricMean(),
    "STCH": lambda library, tasks: library.STCH(mu=1.0),
    "FAMO": lambda library, tasks: library.FAMO(tasks),
}
SCALARIZERS = ("UncertaintyWeighting", "IMTLL", "DWA", "RLW", "GLS", "STCH", "FAMO")


def _torch_step(setting: Setting) -> Callable[[int], list[float]]:
    import torch
    from torchjd import aggregation, scalarization
    from torchjd.autojac import jac_to_grad, mtl_backward

    if setting.method not in PEERS:
        raise ValueError(f"TorchJD has no {setting.method}.")
    torch.manual_seed(0)
    size = SIZES[setting.size]
    encoder = _torch_encoder(size)
    heads = torch.nn.ModuleList(
        torch.nn.Sequential(torch.nn.Dropout(0.1), torch.nn.Linear(size.width, CLASSES)) for _ in range(setting.tasks)
    )
    make, combines = PEERS[setting.method], setting.method in SCALARIZERS
    balancer: Any = make(scalarization if combines else aggregation, setting.tasks) if make is not None else None
    own = list(balancer.parameters()) if combines and setting.method != "FAMO" else []  # FAMO has an optimizer of its own.
    optimizer = torch.optim.AdamW([*encoder.parameters(), *heads.parameters(), *own], 3e-5)
    ids, classes, weights = (torch.tensor(each) for each in batch(setting))
    ids, classes = ids.long(), classes.long()
    chosen = [torch.nonzero(weight)[:, 0] for weight in weights]

    def losses_of(features: Any) -> list[Any]:
        return [
            torch.nn.functional.cross_entropy(head(features[rows]), classes[rows])
            for head, rows in zip(heads, chosen, strict=True)
        ]

    def one() -> None:
        optimizer.zero_grad()
        features = encoder(ids)
        if balancer is None or combines:
            losses = torch.stack(losses_of(features))
            (balancer(losses) if combines else losses.sum()).backward()
        elif setting.at == "parameters":
            mtl_backward(losses_of(features), features=features)
            jac_to_grad(encoder.parameters(), balancer)
        else:
            cut = features.detach().requires_grad_()
            inner = 1.0 * cut  # TorchJD wants features that something was computed from.
            mtl_backward(losses_of(inner), features=inner, shared_params=[cut])
            jac_to_grad([cut], balancer)
            features.backward(cut.grad)
        optimizer.step()
        if setting.method == "FAMO":
            with torch.no_grad():
                balancer.update(torch.stack(losses_of(encoder(ids))))

    def run(steps: int) -> list[float]:
        seconds = []
        for _ in range(steps):
            began = time.perf_counter()
            one()
            seconds.append(time.perf_counter() - began)
        return seconds

    return run


def _torch_encoder(size: Size) -> Any:
    """The encoder of `mtl.encoders.Transformer`, of PyTorch's own layers."""
    import torch

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens = torch.nn.Embedding(size.vocabulary, size.width)
            self.positions = torch.nn.Parameter(0.02 * torch.randn(size.length, size.width))
            self.norm = torch.nn.LayerNorm(size.width)
            self.dropout = torch.nn.Dropout(0.1)
            layer = torch.nn.TransformerEncoderLayer(
                size.width, size.heads, size.feedforward, dropout=0.1, activation="gelu", batch_first=True
            )
            self.blocks = torch.nn.TransformerEncoder(layer, size.layers, enable_nested_tensor=False)

        def forward(self, ids: Any) -> Any:
            embedded = self.dropout(self.norm(self.tokens(ids) + self.positions))
            return self.blocks(embedded).mean(dim=1)

    return Encoder()
