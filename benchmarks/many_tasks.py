"""How time and memory grow with the number of tasks: one model with many heads, and as many models with one.

python -m benchmarks.many_tasks
"""

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


def model_of(names: list[str], quick: bool) -> mtl.MultiTaskModel:
    """An encoder of MiniLM's size with a classification head for each name."""
    model = mtl.MultiTaskModel(common.minilm(quick=quick), [mtl.Task(name, mtl.heads.Classification(5)) for name in names])
    model.compile(keras.optimizers.AdamW(1e-4))
    return model


def megabytes(models: list[Any]) -> float:
    """What weights and the optimizer's state take."""
    variables = [variable for model in models for variable in (*model.variables, *model.optimizer.variables)]
    return (
        sum(
            np.prod(variable.shape) * keras.backend.standardize_dtype(variable.dtype).endswith("32") * 4 for variable in variables
        )
        / 1e6
    )


@app.command()
def many_tasks(
    tasks: Annotated[list[int], typer.Option(help="Numbers of tasks.")] = [1, 2, 4, 8, 16],  # noqa: B006
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each side.")] = 5,
    rows: Annotated[int, typer.Option(min=1, help="Rows of a batch, which all tasks label.")] = 32,
    quick: Annotated[bool, typer.Option(help="A tiny model, two tasks and two rounds: shows that it runs.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all figures there.")] = None,
) -> None:
    """One model with many heads against single models, on rows that all tasks label."""
    numbers, rounds, length = ([1, 2], 2, 8) if quick else (tasks, rounds, 32)
    ids = np.random.default_rng(0).integers(1, common.VOCABULARY, (rows, length)).astype("int32")
    x = {"token_ids": ids}
    single = model_of(["task_0"], quick)
    table, figures = [], {}
    for number in numbers:
        names = [f"task_{i}" for i in range(number)]
        joint = model_of(names, quick)
        data = tf.data.Dataset.from_tensors((x, dict.fromkeys(names, ids[:, 0] % 5))).repeat(2)
        alone = tf.data.Dataset.from_tensors((x, {"task_0": ids[:, 0] % 5})).repeat(2)

        def train_single(alone: Any = alone, number: int = number) -> None:
            for _ in range(number):  # One model stands for all: they cost the same.
                single.fit(alone, verbose=0)

        def predict_single(number: int = number) -> None:
            for _ in range(number):
                single.predict(x, verbose=0)

        def train_joint(joint: Any = joint, data: Any = data) -> None:
            joint.fit(data, verbose=0)

        def predict_joint(joint: Any = joint) -> None:
            joint.predict(x, verbose=0)

        sides = {"joint": train_joint, "single": train_single}
        predicting = {"joint": predict_joint, "single": predict_single}
        for side in (*sides.values(), *predicting.values()):
            side()
        training, predictions = common.paired(sides, rounds), common.paired(predicting, rounds)
        memory = {"joint": megabytes([joint]), "single": number * megabytes([single])}
        of = [common.ratios(each["single"], each["joint"]) for each in (training, predictions)]
        cells = [common.cell(common.spread(training[side]), 0, 500) for side in sides]
        cells += [common.cell(common.spread(predictions[side]), 0, 1000) for side in predicting]
        cells += [f"{memory[side]:,.0f}" for side in sides]
        table.append(
            [str(number), *cells, *(f"{each['median']:.1f}" for each in of), f"{memory['single'] / memory['joint']:.1f}"]
        )
        figures[number] = {"training": training, "predicting": predictions, "megabytes": memory}
        del joint
    columns = [
        "tasks",
        "a step, ms",
        "single",
        "predicting, ms",
        "single",
        "MB",
        "single",
        "x training",
        "x predicting",
        "x memory",
    ]
    common.finish("One model with many heads, and single models, median (least to greatest)", columns, table, figures, json_file)


if __name__ == "__main__":
    app()
