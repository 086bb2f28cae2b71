"""What replicas cost: the same batch on 1, 2 and 4 of them, all on the cores of one machine, where none can be faster.

python -m benchmarks.replicas
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import keras
import numpy as np
import tensorflow as tf
import typer

import mtl
from benchmarks import common

__all__ = ["app"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def side(count: int, rows: int, length: int, quick: bool) -> Callable[[], Any]:
    """A function that takes two steps on so many replicas."""
    devices = [f"CPU:{number}" for number in range(count)]
    # Sums go over one device: several strategies of one process cannot share the rings that are the default.
    strategy = tf.distribute.MirroredStrategy(devices, cross_device_ops=tf.distribute.ReductionToOneDevice())
    with strategy.scope():
        encoder = common.minilm(quick=quick)
        tasks = [mtl.Task(name, mtl.heads.Classification(5)) for name in ("one", "other")]
        model = mtl.MultiTaskModel(encoder, tasks)
        model.compile(keras.optimizers.AdamW(1e-4))
    ids = np.random.default_rng(0).integers(1, common.VOCABULARY, (rows, length)).astype("int32")
    data = tf.data.Dataset.from_tensors(({"token_ids": ids}, {"one": ids[:, 0] % 5, "other": ids[:, 1] % 5})).repeat(2)
    return lambda: model.fit(data, verbose=0)


@app.command()
def replicas(
    counts: Annotated[
        list[int], typer.Option("--replicas", help="Numbers of replicas; the first is what others stand beside.")
    ] = [1, 2, 4],  # noqa: B006, E501
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each side.")] = 5,
    quick: Annotated[bool, typer.Option(help="A tiny model, two replicas and two rounds: shows that it runs.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all figures there.")] = None,
) -> None:
    """A step on several replicas that share one machine's cores."""
    counts, rounds, rows, length = ([1, 2], 2, 8, 8) if quick else (counts, rounds, 32, 64)
    cpus = tf.config.list_physical_devices("CPU")
    if tf.config.get_logical_device_configuration(cpus[0]) is None:
        tf.config.set_logical_device_configuration(cpus[0], [tf.config.LogicalDeviceConfiguration()] * max(counts))
    sides = {str(count): side(count, rows, length, quick) for count in counts}
    for run in sides.values():
        run()
    seconds = common.paired(sides, rounds)
    first = seconds[str(counts[0])]
    table = [
        [name, common.cell(common.spread(taken), 0, 500), common.cell(common.ratios(taken, first))]
        for name, taken in seconds.items()
    ]
    figures = {"seconds": seconds, "ratios": {name: common.ratios(taken, first) for name, taken in seconds.items()}}
    columns = ["replicas", "a step, ms", f"ratio to {counts[0]}"]
    common.finish("One batch on several replicas, median (least to greatest)", columns, table, figures, json_file)


if __name__ == "__main__":
    app()
