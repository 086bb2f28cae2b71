"""Tables about a recipe's data and about a model."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape

from mtl.commands.shown import Table
from mtl.commands.training_run import show_mixture
from mtl.data.annotation import count_overlapping
from mtl.data.source import SPLITS
from mtl.heads import MultiLabel, Tagging
from mtl.reports.inspection import (
    TaskFacts,
    contradictions,
    histogram,
    number_histogram,
    overlaps,
    read_split,
    read_task,
    read_texts,
    unseen_labels,
)
from mtl.utils import brief, printable
from mtl.utils.labels import doubtful_labels

__all__ = ["inspect_model", "inspect_recipe"]


def inspect_recipe(recipe: Any, console: Console, labels: int = 20, rows: int = 3) -> None:
    """Show a recipe's data, before any training.

    Args:
        recipe: a `mtl.recipe.Recipe`.
        console: console for the output.
        labels: number of labels shown per task, the most frequent ones.
        rows: number of rows shown of the first batch.
    """
    sources = recipe.build_sources()
    tasks = recipe.build_tasks(sources)
    for task in tasks.values():
        _show_task(task, console, labels)
    run = recipe.build()
    for name, source in run.sources.items():
        _show_source(name, source, run.encoder, console)
    show_mixture(run, console)
    for dataset in (run.train, run.validation):
        for sentence in dataset.mixture.losses() if dataset is not None else ():
            console.print(f"[yellow]{escape(sentence)}[/yellow]")
    _show_batch(run, console, rows)


def _show_task(task: Any, console: Console, most: int) -> None:
    splits = [split for split in SPLITS if any(split in source.splits for source in task.sources)]
    facts = {split: read_task(task, split) for split in splits}
    table = _table(f"Task {task.name}: {type(task.head).__name__}", "", splits)
    table.add_row("labelled examples", *(f"{each.examples:,}" for each in facts.values()))
    some = [each for each in facts.values() if each.examples]
    if any(each.numbers is not None for each in facts.values()):
        for row, figure in (("minimum", np.min), ("mean", np.mean), ("maximum", np.max), ("deviation", np.std)):
            table.add_row(row, *(f"{figure(each.numbers):g}" if each.numbers else "" for each in facts.values()))
    elif any(each.labels is None for each in some):
        kinds = ["many" if each.labels is None else f"{len(each.labels):,}" for each in facts.values()]
        table.add_row("different labels", *kinds)
    else:
        counts = [each.labels or Counter() for each in facts.values()]
        total = sum(counts, Counter())
        ranked = sorted(total, key=lambda label: (-total[label], label))
        for label in ranked[:most]:
            table.add_row(escape(label), *(f"{count[label]:,}" for count in counts))
        if len(ranked) > most:
            table.add_row(f"and {len(ranked) - most} more labels", *("" for _ in facts))
    console.print(table)
    if numbers := next((part.numbers for part in facts.values() if part.numbers), None):
        _show_bars(number_histogram(numbers), console)
    _show_doubts(task, facts, console)
    if isinstance(task.head, Tagging):
        for split in splits:
            if count := sum(count_overlapping(value, example) for example, value in task.labelled(split)):
                console.print(
                    f"[yellow]{count:,} spans of '{task.name}' in split '{split}' overlap longer ones, or as long ones before "
                    f"them; overlaps='longest' leaves them out, here it is '{task.head.overlaps}'.[/yellow]"
                )
    if len(task.sources) > 1:  # With one source they are shown in its table.
        for (first, second), number in overlaps({split: read_texts(task, split) for split in splits}).items():
            console.print(f"[yellow]{number:,} texts of '{task.name}' stand in both '{first}' and '{second}'.[/yellow]")
    if count := contradictions(task, splits):
        console.print(f"[yellow]{count:,} texts carry different labels of '{task.name}' in different places.[/yellow]")


def _show_doubts(task: Any, facts: Mapping[str, TaskFacts], console: Console) -> None:
    """Show warnings about a task's labels."""
    for split, counts in unseen_labels(facts).items():
        shown = escape(printable(", ".join(f"'{name}' ({count:,})" for name, count in counts.most_common(5))))
        more = f" and {len(counts) - 5:,} more" if len(counts) > 5 else ""
        console.print(f"[yellow]Labels of '{task.name}' that stand in '{split}' and never in 'train': {shown}{more}.[/yellow]")
    names = {name for part in facts.values() for name in part.labels or ()}
    for doubt in doubtful_labels(names, isinstance(task.head, MultiLabel)):
        console.print(f"[yellow]Task '{task.name}': {escape(printable(doubt))}[/yellow]")


def _show_source(name: str, source: Any, encoder: Any, console: Console) -> None:
    limit = encoder.max_length
    facts = {split: read_split(source, split, encoder.tokenizer, limit) for split in source.splits}
    table = _table(f"Source {name}", "", list(facts))
    every = list(facts.values())
    table.add_row("examples", *(f"{each.examples:,}" for each in every))
    table.add_row("repeated texts", *(f"{each.duplicates:,}" for each in every))
    if any(source.skipped.get(split) for split in facts):
        table.add_row("malformed, left out", *(f"{source.skipped.get(split, 0):,}" for split in facts))
    table.add_row("tokens", *(f"{each.tokens:,}" for each in every))
    table.add_row("unknown tokens", *(f"{each.unknown / max(1, each.tokens):.2%}" for each in every))
    if limit is not None:
        table.add_row(f"cut at {limit} tokens", *(f"{each.truncated / max(1, each.examples):.2%}" for each in every))
    for share in (50, 95, 100):
        row = "longest" if share == 100 else f"{share}% have at most"
        table.add_row(row, *(f"{int(np.percentile(each.lengths, share)):,}" if each.examples else "" for each in every))
    console.print(table)
    for (first, second), count in overlaps(facts).items():
        console.print(f"[yellow]{count:,} texts stand in both '{first}' and '{second}'.[/yellow]")
    split = next(iter(facts))
    console.print(f"Lengths in tokens, split '{split}':")
    _show_bars(histogram(facts[split].lengths), console)


def _show_bars(bars: Sequence[tuple[str, int, str]], console: Console) -> None:
    width = max((len(each) for each, _, _ in bars), default=0)
    for each, count, bar in bars:
        console.print(f"  {each:>{width}} {count:>9,} {bar}", highlight=False)


def _show_batch(run: Any, console: Console, rows: int) -> None:
    x, y, weights = next(iter(run.train.take(1).as_numpy_iterator()))
    shape = ", ".join(f"{name} {list(value.shape)}" for name, value in x.items())
    console.print(f"\nThe first batch: {shape}.", highlight=False)
    tokenizer = run.encoder.tokenizer
    for row in range(min(rows, len(x["token_ids"]))):
        size = int(x["padding_mask"][row].sum())
        tokens = " ".join(tokenizer.token(int(i)) for i in x["token_ids"][row][:size])
        table = Table(title=f"Row {row + 1}: {size} tokens", title_justify="left", show_header=False)
        table.add_row("tokens", escape(tokens))
        for task in run.tasks:
            target, weight = y[task][row], weights[task][row]
            if not np.any(weight > 0):
                table.add_row(task, "not labelled, weight 0")
            elif np.ndim(weight):
                table.add_row(f"{task}: targets", _short(target[:size]))
                table.add_row(f"{task}: weights", _short(weight[:size]))
            else:
                table.add_row(task, f"target {_short(target)}, weight {_short(weight)}")
        console.print(table)


def _short(value: Any) -> str:
    return " ".join(f"{number:g}" for number in np.ravel(value))


def inspect_model(model: Any, console: Console) -> None:
    """Show a model's encoder, heads, labels and sizes."""
    encoder = model.encoder
    table = Table(title=escape(f"Model {model.name}"), title_justify="left", show_header=False)
    table.add_row("weights", f"{model.count_params():,}")
    table.add_row("encoder", f"{type(encoder).__name__}, {encoder.count_params():,} weights, {encoder.width} wide")
    if encoder.tokenizer is not None:
        table.add_row("tokenizer", f"{encoder.tokenizer.vocabulary_size:,} tokens")
    table.add_row("longest text", "any" if encoder.max_length is None else f"{encoder.max_length} tokens")
    table.add_row("sharing", escape(_described(model.sharing)))
    table.add_row("balancer", escape(_described(model.balancer)))
    console.print(table)
    table = _table("Tasks", "task", ("head", "weights", "labels"))
    for name, head in model.heads.items():
        labels = head.labels or ()
        names = ", ".join(map(str, labels[:12])) + (f" and {len(labels) - 12} more" if len(labels) > 12 else "")
        table.add_row(name, type(head).__name__, f"{head.count_params():,}", escape(names))
    console.print(table)


def _described(part: Any) -> str:
    settings: Mapping[str, Any] = part.get_config()
    return f"{type(part).__name__}({', '.join(f'{key}={brief(value)}' for key, value in settings.items())})"


def _table(title: str, first: str, columns: Any) -> Table:
    table = Table(title=escape(title), title_justify="left")
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="left" if first else "right")
    return table
