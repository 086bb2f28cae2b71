"""Label vocabularies."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mtl.utils.brief import brief
from mtl.utils.errors import unknown_name

__all__ = ["Labels", "doubtful_labels", "label_text"]


def label_text(value: Any) -> str:
    """Return the text that identifies a label: 3, 3.0 and "3" are one label, for CSV has only strings and JSON has numbers.

    Raises:
        ValueError: if the value is neither a string nor a finite number.

    Example:

    >>> label_text(3.0), label_text("3")
    ('3', '3')
    """
    value = _plain(value)
    if isinstance(value, float) and not math.isfinite(value) or not isinstance(value, (str, int, float)):
        raise ValueError(f"A label is a string or a finite number, got {brief(value)}.")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def doubtful_labels(names: Iterable[Any], several: bool = False) -> list[str]:
    """Return sentences about labels that are probably mistakes.

    Args:
        names: the labels.
        several: whether an example may have several labels, so that a `;` or `,` in a label may be a separator.

    Example:

    >>> doubtful_labels(["up", " up"])
    ["The labels ' up' and 'up' differ only by blanks around them; strip them in the data if they are one label."]
    """
    texts = sorted(set(map(label_text, names)))
    alike: dict[str, list[str]] = {}
    for text in texts:
        alike.setdefault(text.strip(), []).append(text)
    found = [
        f"The labels {' and '.join(map(repr, group[:3]))} differ only by blanks around them; "
        "strip them in the data if they are one label."
        for group in alike.values()
        if len(group) > 1
    ]
    for sign in ";," if several else "":
        if holds := [text for text in texts if sign in text]:
            more = f" and {len(holds) - 1} more" if len(holds) > 1 else ""
            found.append(
                f"The label {holds[0]!r}{more} has '{sign}' in it; split such values with convert= of the source, or separator= "
                "of the head, if they are several labels."
            )
    return found


class Labels:
    """Vocabulary of labels: their names in the order of their ids.

    Labels are compared by `label_text` and keep the form in which they were first given.

    Args:
        names: the names, or a number `n` for the labels `0 ... n - 1`.

    Raises:
        ValueError: if there is no name, or a name occurs twice.

    Example:

    >>> labels = Labels.learn(["10", "9", "9"])
    >>> labels.names, labels.id(10)
    (('9', '10'), 1)
    """

    def __init__(self, names: int | Iterable[Any]):
        self.names = tuple(range(names)) if isinstance(names, int) else tuple(_plain(name) for name in names)
        self.texts = tuple(label_text(name) for name in self.names)
        self._ids = {text: i for i, text in enumerate(self.texts)}
        if not self.names:
            raise ValueError("A head needs at least one label, got none; pass `labels`, or a training split that has them.")
        if len(self._ids) < len(self.texts):
            twice = next(text for i, text in enumerate(self.texts) if self._ids[text] != i)
            raise ValueError(f"Labels must differ, but '{twice}' stands twice; note that 3 and \"3\" are one label.")

    @classmethod
    def learn(cls, values: Iterable[Any]) -> "Labels":
        """Return the vocabulary of the distinct values, sorted; by number if all of them are, or can be read as, numbers."""
        first: dict[str, Any] = {}
        for value in values:
            first.setdefault(label_text(value), value)
        try:
            numbers = {text: float(text) for text in first}
            if any(map(math.isnan, numbers.values())):  # "nan" has no order among numbers.
                raise ValueError
            texts = sorted(first, key=lambda text: (numbers[text], text))
        except ValueError:
            texts = sorted(first)
        return cls(first[text] for text in texts)

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, value: Any) -> bool:
        return label_text(value) in self._ids

    def id(self, value: Any) -> int:
        """Return the id of a label.

        Raises:
            ValueError: if there is no such label; the message names the nearest.
        """
        text = label_text(value)
        if text not in self._ids:
            error = unknown_name("label", text, self.texts)
            raise ValueError(f"{error} Give the head all labels, labels=[...], or unknown='ignore'.")
        return self._ids[text]

    def numbers(self, what: str, given: Mapping[Any, float] | Sequence[float]) -> tuple[float, ...]:
        """Return one positive number per label, in the order of ids.

        Args:
            what: name of the numbers in errors.
            given: label -> number, 1 for labels left out; or one number per label.

        Raises:
            ValueError: if a label is unknown, the count is wrong, or a number is not positive and finite.
        """
        if isinstance(given, Mapping):
            by_id = {self.id(label): number for label, number in given.items()}
            given = [by_id.get(i, 1.0) for i in range(len(self))]
        if len(given) != len(self):
            raise ValueError(f"`{what}` takes one number for each of {len(self)} labels, got {len(given)}.")
        numbers = tuple(float(number) for number in given)
        if not all(0 < number < math.inf for number in numbers):
            raise ValueError(f"`{what}` takes positive finite numbers, got {list(numbers)}.")
        return numbers

    def probabilities(self, probabilities: np.ndarray, most: int = 20, top: int = 5) -> dict[str, float]:
        """Return label -> probability: of all labels if there are at most `most`, else of the `top` most probable, in order."""
        order = range(len(self)) if len(self) <= most else np.argsort(-probabilities, kind="stable")[:top]
        return {self.texts[i]: float(probabilities[i]) for i in order}


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
