"""How fast texts become batches: `mtl.data.mix`, and Hugging Face's `datasets.map` with the same tokenizer.

python -m benchmarks.input
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import mtl
from benchmarks import common
from mtl.data.columns import encoder_columns

__all__ = ["app"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

PROCESSES = 2


def texts_of(corpus: str, data_dir: Path | None, number: int) -> list[str]:
    """Texts of made-up words in the lengths of a corpus; each text stands once."""
    rng = np.random.default_rng(0)
    lengths = common.lengths_of(corpus, data_dir, number)
    return [" ".join(f"word{word}" for word in rng.integers(0, 20_000, length)) for length in lengths]


class Encoder:
    """What `mix` asks of an encoder."""

    def __init__(self, tokenizer: mtl.data.Tokenizer, max_length: int):
        self.tokenizer, self.max_length = tokenizer, max_length
        self.columns = encoder_columns(("token_ids", "padding_mask"), tokenizer.pad_id or 0)


def ours(texts: list[str], tokenizer: mtl.data.Tokenizer, folder: Path) -> Callable[[], Any]:
    """A function that prepares the texts as `mix` does, anew each time; their labels too."""
    rows = [{"text": text, "label": number % 3} for number, text in enumerate(texts)]
    turns = iter(range(1_000_000))

    def run() -> Any:
        source = mtl.data.records(rows, label="label", fractions=None)
        task = mtl.Task("label", mtl.heads.Classification(3), source)
        return mtl.data.mix(task, Encoder(tokenizer, 256), cache_dir=folder / str(next(turns)))

    return run


def theirs(texts: list[str], tokenizer: mtl.data.Tokenizer) -> Callable[[], Any]:
    """The same with `datasets.map(batched=True)` and the same vocabulary; nothing is cached, so that it works each time."""
    import datasets
    import tokenizers

    fast = tokenizers.Tokenizer.from_str(tokenizer.definition)
    fast.enable_truncation(256)
    datasets.disable_progress_bars()
    datasets.disable_caching()
    data = datasets.Dataset.from_dict({"text": texts, "label": [number % 3 for number in range(len(texts))]})

    def encode(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        found = fast.encode_batch(batch["text"])
        return {"input_ids": [each.ids for each in found], "attention_mask": [each.attention_mask for each in found]}

    def run() -> Any:
        return data.map(encode, batched=True, num_proc=PROCESSES)

    return run


@app.command("input")
def measure(
    data_dir: Annotated[Path | None, typer.Option(help="Holds snips/ and sick/, for their lengths; drawn without it.")] = None,
    texts: Annotated[int, typer.Option(min=1, help="Texts of each corpus.")] = 20_000,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each side.")] = 5,
    quick: Annotated[bool, typer.Option(help="A few texts and two rounds: shows that it runs.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all figures there.")] = None,
) -> None:
    """Texts a second: tokenized for the first time, found in the cache, and as batches."""
    common.peer("datasets")
    number, rounds = (200, 2) if quick else (texts, rounds)
    table, figures = [], {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for corpus in ("snips", "news"):
            some = texts_of(corpus, data_dir, number if corpus == "snips" else max(100, number // 10))
            tokenizer = mtl.data.Tokenizer.learn("wordpiece", some[:2000], size=8000)
            run = ours(some, tokenizer, folder / corpus)
            seconds = common.paired({"mtl": run, "datasets": theirs(some, tokenizer)}, rounds)
            rates = {side: [len(some) / each for each in taken] for side, taken in seconds.items()}
            ratio, batches = common.ratios(rates["mtl"], rates["datasets"]), [_batches(run, len(some)) for _ in range(rounds)]
            cells = [common.cell(common.spread(rates[side]), 0) for side in rates]
            table.append([corpus, *cells, common.cell(common.spread(batches), 0), common.cell(ratio)])
            figures[corpus] = {"texts a second": rates, "rows a second in batches": batches, "ratio": ratio}
        figures["cache"] = _cached(folder, number)
    columns = ["texts like", "mtl", f"datasets, {PROCESSES} processes", "mtl, read back as batches", "mtl / datasets"]
    common.finish("Texts a second, median (least to greatest)", columns, table, figures, json_file)
    typer.echo(f"The cache is opened in {figures['cache'] * 1000:.0f} ms.")


def _batches(run: Callable[[], Any], rows: int) -> float:
    """Rows a second through the dataset."""
    data = run()
    began = time.perf_counter()
    for _ in data:
        pass
    return rows / (time.perf_counter() - began)


def _cached(folder: Path, number: int) -> float:
    """Seconds to find prepared texts again."""
    lines = folder / "texts.csv"
    lines.write_text("text,label\n" + "".join(f"some words {i},{i % 3}\n" for i in range(number)), "utf-8")
    tokenizer = mtl.data.Tokenizer.learn("word", ["some words"])

    def once() -> float:
        began = time.perf_counter()
        task = mtl.Task("label", mtl.heads.Classification(3), mtl.data.csv(lines, label="label", fractions=None))
        mtl.data.mix(task, Encoder(tokenizer, 256), cache_dir=folder / "kept")
        return time.perf_counter() - began

    once()
    return once()


if __name__ == "__main__":
    app()
