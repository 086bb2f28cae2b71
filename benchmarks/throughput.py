"""How many real tokens a second are trained: `fit` with its defaults, and PyTorch with `transformers` and a padding collator.

python -m benchmarks.throughput
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import keras
import numpy as np
import tensorflow as tf
import typer

import mtl
from benchmarks import common

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
        taken = mixture.plan.of(mixture.epoch)[:steps]
        model.fit(train.take(steps), verbose=0)
        return sum(int(mixture.plan._lengths(batch.groups, batch.positions).sum()) for batch in taken)

    return run


def theirs(texts: dict[str, list[list[str]]], steps: int, quick: bool, bfloat16: bool) -> Callable[[], int]:
    """The same tasks and sizes in PyTorch: batches of one task, padded to their longest row; the fused AdamW."""
    import torch
    from transformers import BertConfig, BertModel

    size = common.TINY if quick else common.MINILM
    config = BertConfig(
        common.VOCABULARY, size["width"], size["layers"], size["heads"], size["feedforward"], max_position_embeddings=512
    )
    encoder = BertModel(config, add_pooling_layer=False)
    heads = torch.nn.ModuleDict({"topic": torch.nn.Linear(size["width"], 5), "slots": torch.nn.Linear(size["width"], SLOTS)})
    heads["similar"] = torch.nn.Linear(size["width"], 1)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *heads.parameters()], 1e-4, fused=True)
    rng = np.random.default_rng(0)
    rows = {task: [torch.tensor([2, *(int(word[1:]) + 5 for word in text), 3]) for text in of] for task, of in texts.items()}
    entropy, drop = torch.nn.functional.cross_entropy, torch.nn.functional.dropout

    def batches() -> Iterator[tuple[str, list[Any]]]:
        while True:
            cut = [(task, rng.permutation(len(of))) for task, of in rows.items()]
            every = [(task, order[i : i + BATCH]) for task, order in cut for i in range(0, len(order), BATCH)]
            for turn in rng.permutation(len(every)):
                task, chosen = every[turn]
                yield task, [rows[task][i] for i in chosen]

    endless = batches()

    def run() -> int:
        encoder.train()
        tokens = 0
        for _ in range(steps):
            task, chosen = next(endless)
            ids = torch.nn.utils.rnn.pad_sequence(chosen, batch_first=True)
            mask = (ids != 0).long()
            tokens += int(mask.sum())
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                sequence = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
                features = sequence if task == "slots" else (sequence * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
                outputs = heads[task](drop(features, 0.1)).float()
            if task == "slots":
                loss = entropy(outputs.flatten(0, 1), torch.where(mask > 0, ids % SLOTS, -100).flatten())
            elif task == "topic":
                loss = entropy(outputs, ids[:, 1] % 5)
            else:
                loss = (outputs[:, 0] - (ids[:, 1] % 5)).square().mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        return tokens

    return run


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


def theirs_recurrent(steps: int, quick: bool, bfloat16: bool) -> Callable[[], int]:
    """The same with PyTorch's LSTM and Adam."""
    import torch

    size = 8 if quick else 64
    units = size * 5 // 2
    embedding = torch.nn.Embedding(5000, 128)
    lstm = torch.nn.LSTM(128, units, batch_first=True, bidirectional=True)
    head = torch.nn.Linear(2 * units, SLOTS)
    optimizer = torch.optim.Adam([*embedding.parameters(), *lstm.parameters(), *head.parameters()])
    ids = torch.tensor(np.random.default_rng(0).integers(1, 5000, (size, size)))
    drop = torch.nn.functional.dropout

    def run() -> int:
        for _ in range(steps):
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                outputs = head(drop(lstm(drop(embedding(ids), 0.1))[0], 0.1)).float()
            torch.nn.functional.cross_entropy(outputs.flatten(0, 1), (ids % SLOTS).flatten()).backward()
            optimizer.step()
            optimizer.zero_grad()
        return steps * ids.numel()

    return run


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
