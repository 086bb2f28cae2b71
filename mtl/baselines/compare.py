"""Baselines: trained on the same split as a model, and scored on the same examples by the head's own report."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from mtl.baselines.majority import majority
from mtl.baselines.ngrams import character_ngrams, word_ngrams
from mtl.baselines.snownlp_models import character_model, tnt
from mtl.data.example import Example
from mtl.heads.head import Head
from mtl.task import Task
from mtl.utils import unknown_name
from mtl.utils.arguments import checked
from mtl.utils.sampling import sample
from mtl.utils.types import Count, Size

__all__ = ["BASELINES", "Baseline", "compare"]

#: Function of labelled training examples, test examples and the task's head that returns predictions as `head.decode` does.
Baseline = Callable[[Sequence[tuple[Example, Any]], Sequence[Example], Head], list[dict[str, Any]]]

#: Baselines by name.
BASELINES: Mapping[str, Baseline] = MappingProxyType(
    {baseline.__name__: baseline for baseline in (majority, character_ngrams, word_ngrams, tnt, character_model)}
)

#: Figures of a baseline, if not all: TnT is given the boundaries of words, so that only the types of spans are scored.
_FIGURES = {"tnt": ("type_accuracy",)}


@checked
def compare(
    task: Task, names: Iterable[str] = ("majority",), split: str = "test", limit: Count | None = None, seed: Size = 0
) -> dict[str, dict[str, Any]]:
    """Train baselines on a task's training split, and score them as the task's head scores a model.

    Args:
        task: a task with a source; its head learns its labels if it does not know them yet.
        names: names from `BASELINES`.
        split: the split to score on.
        limit: number of its examples to score on, drawn as in `MultiTaskModel.report`; None for all.
        seed: seed of the draw.

    Returns:
        name -> `{"metrics": {...}, "seconds": ...}`: the metrics of `head.report`, and the time of training and prediction.

    Raises:
        ValueError: if a name is unknown, or a split has no labelled examples.
        TypeError: if a baseline does not fit the task's head.

    Example:

    >>> import mtl
    >>> rows = mtl.data.records({"train": [{"text": "a", "label": 1}] * 3, "test": [{"text": "b", "label": 1}]}, label="label")
    >>> compare(mtl.Task("label", mtl.heads.Classification([0, 1]), rows))["majority"]["metrics"]["accuracy"]
    1.0
    """
    chosen = {}
    for name in names:
        if name not in BASELINES:
            raise unknown_name("baseline", name, BASELINES)
        chosen[name] = BASELINES[name]
    task.prepare()
    train = list(task.labelled("train"))
    test = sample(task.labelled(split), limit, seed)
    for part, pairs in (("train", train), (split, test)):
        if not pairs:
            raise ValueError(
                f"Expected examples labelled for task '{task.name}' in the split '{part}', got none; check its source."
            )
    examples, gold = [example for example, _ in test], [value for _, value in test]
    results = {}
    for name, baseline in chosen.items():
        start = time.perf_counter()
        predicted = baseline(train, examples, task.head)
        seconds = time.perf_counter() - start
        metrics = task.head.report(gold, predicted, examples)
        only = {figure: metrics[figure] for figure in _FIGURES.get(name, ()) if figure in metrics}
        results[name] = {"metrics": only or metrics, "seconds": seconds}
    return results
