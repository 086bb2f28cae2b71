"""How many real tokens a second are trained: `fit` with its defaults, and PyTorch with `transformers` and a padding collator.

python -m benchmarks.throughput
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
from benchmarks.peers import Peer

__all__ = ["app"]

#: Task -> the corpus whose lengths it has.
TASKS = {"topic": "news", "slots": "snips", "similar": "sick"}
SLOTS = 73
BATCH = 32

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


# Transformer ----------------------------------------------------------------------------------------------------------


def made_up(data_dir: Path | None, rows: int) -> dict[str, list[list[str]]]:
    """Each task's texts: words drawn at random, in lengths that are real."""
    rng = np.random.default_rng(0)
    texts = {}
    for task, corpus in TASKS.items():
        lengths = common.lengths_of(corpus, data_dir, rows)
        texts[task] = [[f"w{word}" for word in rng.integers(0, common.VOCABULARY - 10, length)] for length in lengths]
    return texts


def ours(texts: dict[str, list[list[str]]], steps: int, quick: bool) -> Callable[[], int]:
    """A function that trains some steps with `fit` and says how many real tokens they had."""
    words = (f"w{word}" for word in range(common.VOCABULARY - 10))
    tokenizer = mtl.data.Tokenizer.learn("word", words, size=common.VOCABULARY)
    encoder = common.minilm(tokenizer, quick)
    labels = ["O", *(f"B-{number}" for number in range(SLOTS - 1))]
    values: dict[str, Callable[[list[str], int], Any]] = {
        "topic": lambda text, number: number % 5,
        "slots": lambda text, number: [labels[(number + place) % SLOTS] for place in range(len(text))],
        "similar": lambda text, number: float(number % 5),
    }
    sources = {
        task: mtl.data.records(
            [{"text": text, "label": values[task](text, number)} for number, text in enumerate(texts[task])],
            label={task: "label"},
            fractions=None,
        )
        for task in TASKS
    }
    tasks = [
        mtl.Task("topic", mtl.heads.Classification(5), sources["topic"]),
        mtl.Task("slots", mtl.heads.Tagging(labels), sources["slots"]),
        mtl.Task("similar", mtl.heads.Regression(), sources["similar"]),
    ]
    model = mtl.MultiTaskModel(encoder, tasks)
    model.compile(keras.optimizers.AdamW(1e-4))
    train = mtl.data.mix(tasks, encoder, batch_size=BATCH, cache_dir=None)
    mixture = train.mixture

    def run() -> int:
        taken = mixture.sampler.of(mixture.epoch)[:steps]
        model.fit(train.take(steps), verbose=0)
        return sum(int(mixture.sampler._lengths(batch.groups, batch.positions).sum()) for batch in taken)

    return run


def theirs(texts: dict[str, list[list[str]]], steps: int, quick: bool, bfloat16: bool) -> Peer:
    """The same tasks and sizes in PyTorch."""
    ids = {task: [[2, *(int(word[1:]) + 5 for word in text), 3] for text in of] for task, of in texts.items()}
    size, vocabulary = common.TINY if quick else common.MINILM, common.VOCABULARY
    return Peer(
        side="transformer", texts=ids, steps=steps, size=size, vocabulary=vocabulary, batch=BATCH, labels=SLOTS, bfloat16=bfloat16
    )


# Recurrent ------------------------------------------------------------------------------------------------------------


def ours_recurrent(steps: int, quick: bool) -> Callable[[], int]:
    """Tagging of 64 x 64 characters with a BiLSTM, through `fit`."""
    size = 8 if quick else 64
    encoder = mtl.encoders.Recurrent(vocabulary_size=5000, embedding=128, units=size * 5 // 2)
    labels = ["O", *(f"B-{number}" for number in range(SLOTS - 1))]
    model = mtl.MultiTaskModel(encoder, mtl.Task("tags", mtl.heads.Tagging(labels)))
    model.compile("adam")
    ids = np.random.default_rng(0).integers(1, 5000, (size, size)).astype("int32")
    batch = ({"token_ids": ids}, {"tags": ids % SLOTS})
    data = tf.data.Dataset.from_tensors(batch).repeat(steps)

    def run() -> int:
        model.fit(data, verbose=0)
        return steps * ids.size

    return run


def theirs_recurrent(steps: int, quick: bool, bfloat16: bool) -> Peer:
    """The same with PyTorch's LSTM and Adam."""
    size = 8 if quick else 64
    sizes = {"rows": size, "length": size, "embedding": 128, "units": size * 5 // 2, "vocabulary": 5000, "labels": SLOTS}
    return Peer(side="recurrent", steps=steps, bfloat16=bfloat16, **sizes)


# Command --------------------------------------------------------------------------------------------------------------


@app.command()
def throughput(
    data_dir: Annotated[Path | None, typer.Option(help="Holds snips/ and sick/, for their lengths; drawn without it.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each side.")] = 5,
    steps: Annotated[int, typer.Option(min=1, help="Steps in a turn.")] = 20,
    quick: Annotated[bool, typer.Option(help="A tiny model and two rounds: shows that it runs.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all figures there.")] = None,
) -> None:
    """Real tokens a second in training, beside PyTorch's."""
    for package in ("torch", "transformers"):
        common.peer(package)
    rounds, steps, rows = (2, 2, 200) if quick else (rounds, steps, 4000)
    texts = made_up(data_dir, rows)
    table, figures = [], {}
    for encoder, makers in {"Transformer": (ours, theirs), "Recurrent": (ours_recurrent, theirs_recurrent)}.items():
        for bfloat16 in (False, True) if encoder == "Transformer" else (False,):  # An LSTM's products are too small to gain.
            before = mtl.bfloat16_products(bfloat16)
            arguments: tuple[Any, ...] = (texts, steps, quick) if encoder == "Transformer" else (steps, quick)
            sides = {"mtl": makers[0](*arguments), "PyTorch": makers[1](*arguments, bfloat16)}
            tokens: dict[str, list[int]] = {name: [] for name in sides}
            for run in sides.values():
                run()  # Traces, and allocates.
            turns = {name: _counting(run, tokens[name]) for name, run in sides.items()}
            seconds = common.paired(turns, rounds)
            sides["PyTorch"].close()
            mtl.bfloat16_products(before)
            rates = {name: [n / s for n, s in zip(tokens[name], seconds[name], strict=True)] for name in sides}
            kind, ratio = "bfloat16" if bfloat16 else "float32", common.ratios(rates["mtl"], rates["PyTorch"])
            cells = [common.cell(common.spread(rates[name]), 0) for name in sides]
            table.append([encoder, kind, *cells, common.cell(ratio)])
            figures[f"{encoder} {kind}"] = {"tokens a second": rates, "ratio": ratio}
            keras.backend.clear_session()
    columns = ["encoder", "products in", "mtl, tokens a second", "PyTorch, tokens a second", "mtl / PyTorch"]
    common.finish("Training: real tokens a second, median (least to greatest)", columns, table, figures, json_file)


def _counting(run: Callable[[], int], tokens: list[int]) -> Callable[[], None]:
    return lambda: tokens.append(run())


if __name__ == "__main__":
    app()
