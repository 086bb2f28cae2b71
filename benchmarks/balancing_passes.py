"""What passes of one task's rows each cost beside one pass of all rows: the least that a gradient a task can cost.

python -m benchmarks.balancing_passes
"""

import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.balancing_step import CLASSES, SIZES, Setting, batch

__all__ = ["app", "ratios", "sum_of_gradients"]


def sum_of_gradients(size: str) -> Callable[[Any, int], Any]:
    """A compiled function: token ids `[B, S]` and a number of passes -> the sum of all numbers of all gradients.

    A pass goes forward and back with `B / passes` rows. Its gradients are summed, not kept.

    Args:
        size: a key of `SIZES`.
    """
    import keras
    import tensorflow as tf

    import mtl

    given = SIZES[size]
    encoder = mtl.encoders.Transformer(
        vocabulary_size=given.vocabulary,
        width=given.width,
        layers=given.layers,
        heads=given.heads,
        feedforward=given.feedforward,
        max_length=given.length,
        segments=0,
    )
    model = mtl.MultiTaskModel(encoder, [mtl.Task("task", mtl.heads.Classification(CLASSES))])
    variables = [variable.value for variable in model.trainable_variables]

    def of_rows(ids: Any) -> Any:
        with tf.GradientTape() as tape:
            outputs = keras.tree.flatten(model({"token_ids": ids}, training=True))
            total = tf.add_n([tf.reduce_sum(each**2) for each in outputs])
        found = tape.gradient(total, variables)
        return tf.add_n([tf.reduce_sum(tf.convert_to_tensor(each)) for each in found])

    @tf.function(autograph=False)
    def of_passes(ids: Any, passes: int) -> Any:
        parts = tf.reshape(ids, [passes, -1, given.length])
        start = 0, 0.0
        return tf.while_loop(lambda i, _: i < passes, lambda i, total: (i + 1, total + of_rows(parts[i])), start)[1]

    return of_passes


def ratios(size: str, counts: Sequence[int], rounds: int) -> dict[int, list[float]]:
    """Number of passes -> how many times as long as one pass they took, in each round.

    Args:
        size: a key of `SIZES`.
        counts: numbers of passes; each divides the number of rows.
        rounds: in each, every number of passes is timed once, one after the other.
    """
    import tensorflow as tf

    function, ids = sum_of_gradients(size), tf.constant(batch(Setting(side="mtl", method="Static", tasks=1, size=size))[0])

    def seconds(passes: int) -> float:
        began = time.perf_counter()
        function(ids, passes).numpy()
        return time.perf_counter() - began

    for passes in (1, *counts) * 2:
        seconds(passes)
    found: dict[int, list[float]] = {passes: [] for passes in counts}
    for _ in range(rounds):
        one = seconds(1)
        for passes in counts:
            found[passes].append(seconds(passes) / one)
    return found


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    tasks: Annotated[str, typer.Option(help="Numbers of tasks, with commas between them.")] = "2,4,8,16",
    size: Annotated[str, typer.Option(help=f"One of {', '.join(SIZES)}.")] = "minilm",
    rounds: Annotated[int, typer.Option(min=1)] = 8,
) -> None:
    """Times as many passes as there are tasks, each of as many rows, over one pass of all rows."""
    counts = [int(each) for each in tasks.split(",")]
    if size not in SIZES or any(each < 1 or SIZES[size].rows % each for each in counts):
        rows = {name: given.rows for name, given in SIZES.items()}
        raise typer.BadParameter(f"Expected a size and divisors of its number of rows, {rows}; got {size} and {tasks}.")
    table = Table("passes", "over one pass", "least", "greatest", title=f"Passes of as many rows each ({size})")
    for passes, found in ratios(size, counts, rounds).items():
        table.add_row(str(passes), *(f"{each:.2f}" for each in (statistics.median(found), min(found), max(found))))
    Console().print(table)


if __name__ == "__main__":
    app()
