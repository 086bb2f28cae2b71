"""Validation examples to show."""

import itertools
from collections.abc import Iterable
from typing import Any

from mtl.data.example import Example
from mtl.task import Task
from mtl.utils.sampling import sample

__all__ = ["Row", "validation_rows"]

Row = tuple[Example, dict[str, Any]]


def validation_rows(tasks: Iterable[Task], limit: int, first: bool = False) -> list[Row]:
    """Return validation examples of each task with their labels by task; an example of several tasks occurs once.

    Args:
        tasks: the tasks; those without a validation split add nothing.
        limit: maximum number per task.
        first: whether to take the first examples, or else a random sample that is the same in each call.
    """
    found: dict[Any, Row] = {}
    for task in tasks if limit else ():
        labelled = task.labelled("validation")
        for example, value in itertools.islice(labelled, limit) if first else sample(labelled, limit):
            _, labels = found.setdefault((example.text, example.pair, example.words), (example, {}))
            labels[task.name] = value
    return list(found.values())
