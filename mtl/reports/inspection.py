"""Facts about the data of a recipe: sizes, labels, lengths, repeated and contradictory texts."""

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations, islice, pairwise
from typing import Any

import numpy as np

from mtl.data.encoding import encode_examples
from mtl.data.example import Example
from mtl.heads import MultiLabel, Regression

__all__ = [
    "SplitFacts",
    "TaskFacts",
    "contradictions",
    "histogram",
    "label_names",
    "number_histogram",
    "overlaps",
    "read_split",
    "read_task",
    "read_texts",
    "unseen_labels",
]

CHUNK = 1000
#: Number of distinct labels above which they are treated as numbers or texts and not counted one by one.
MOST_LABELS = 1000


@dataclass
class SplitFacts:
    """Facts from a pass over one split of a source. Only eight bytes of each text are kept.

    Attributes:
        examples: number of examples.
        texts: digest of each example's text (and pair).
        lengths: number of tokens of each example, before truncation.
        tokens: number of tokens, special ones included.
        unknown: number of unknown tokens among them.
        truncated: number of texts longer than the encoder's maximum length.
    """

    examples: int = 0
    texts: array = field(default_factory=lambda: array("Q"))
    lengths: array = field(default_factory=lambda: array("I"))
    tokens: int = 0
    unknown: int = 0
    truncated: int = 0

    @property
    def duplicates(self) -> int:
        """Number of examples that repeat the text of an earlier one."""
        return self.examples - len(np.unique(_numbers(self.texts)))


@dataclass
class TaskFacts:
    """Facts from a pass over one split of a task.

    Attributes:
        examples: number of labelled examples.
        labels: label -> its count; None if there are too many distinct labels, or if they are numbers.
        numbers: the labels of a regression; None for other tasks.
    """

    examples: int = 0
    labels: Counter | None = field(default_factory=Counter)
    numbers: array | None = None


def digest(*parts: Any) -> int:
    """Return eight bytes of a hash of objects that their `repr` identifies."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def _numbers(values: array) -> np.ndarray:
    return np.frombuffer(values, np.uint64) if len(values) else np.zeros(0, np.uint64)


def _chunks(examples: Iterable[Example]) -> Iterator[list[Example]]:
    examples = iter(examples)
    while chunk := list(islice(examples, CHUNK)):
        yield chunk


def read_split(source: Any, split: str, tokenizer: Any = None, max_length: int | None = None) -> SplitFacts:
    """Read one split of a source once.

    Args:
        source: `mtl.data.Source`.
        split: one of its splits.
        tokenizer: tokenizer to count tokens with; None to count none.
        max_length: number of tokens to which texts are truncated.

    Example:

    >>> import mtl
    >>> rows = mtl.data.records([{"text": "ab"}, {"text": "ac"}, {"text": "ab"}], fractions=None)
    >>> facts = read_split(rows, "train", mtl.data.Tokenizer.learn("character", ["ab"]))
    >>> facts.examples, facts.duplicates, facts.tokens, facts.unknown
    (3, 1, 6, 1)
    """
    facts = SplitFacts()
    for chunk in _chunks(source.examples(split)):
        facts.examples += len(chunk)
        facts.texts.extend(digest(example.text, example.pair) for example in chunk)
        if tokenizer is not None:
            for encoding in encode_examples(chunk, tokenizer, None):
                length = len(encoding)
                facts.lengths.append(length)
                facts.tokens += length
                facts.truncated += max_length is not None and length > max_length
                if tokenizer.unknown_id is not None:
                    facts.unknown += int(np.count_nonzero(encoding.token_ids == tokenizer.unknown_id))
    return facts


def overlaps(splits: Mapping[str, SplitFacts]) -> dict[tuple[str, str], int]:
    """Return the number of distinct texts that occur in both of two splits; pairs of splits without such a text are left out."""
    texts = {split: np.unique(_numbers(facts.texts)) for split, facts in splits.items()}
    shared = {(a, b): len(np.intersect1d(texts[a], texts[b], assume_unique=True)) for a, b in combinations(texts, 2)}
    return {pair: count for pair, count in shared.items() if count}


def read_task(task: Any, split: str) -> TaskFacts:
    """Count the labels of a task in a split.

    Example:

    >>> import mtl
    >>> rows = mtl.data.records([{"text": t, "mood": "up"} for t in "ab"], label="mood", fractions=None)
    >>> read_task(mtl.Task("mood", mtl.heads.Classification(), rows), "train").labels
    Counter({'up': 2})
    """
    head, facts = task.head, TaskFacts()
    if isinstance(head, Regression):
        facts.labels, facts.numbers = None, array("d")
    for example, value in task.labelled(split):
        facts.examples += 1
        try:
            if facts.numbers is not None:
                facts.numbers.append(float(value))
            elif facts.labels is not None:
                facts.labels.update(map(str, head.names_of(value)) if isinstance(head, MultiLabel) else label_names(value))
        except (ValueError, TypeError, OverflowError) as error:
            where = f"{example.place}: " if example.place else ""
            raise ValueError(f"{where}task '{task.name}': {error}") from error
        if facts.labels is not None and len(facts.labels) > MOST_LABELS:
            facts.labels = None
    return facts


def read_texts(task: Any, split: str) -> SplitFacts:
    """Return the texts of a task's sources in a split, and nothing else."""
    facts = SplitFacts()
    facts.texts.extend(digest(example.text, example.pair) for example, _ in task.labelled(split))
    return facts


def label_names(value: Any) -> list[str]:
    """Return the names to count for a label: the label, the items of a list of labels or tags, or the types of a list of spans.

    Example:

    >>> label_names("up"), label_names(["B-LOC", "O"]), label_names([(0, 2, "LOC")])
    (['up'], ['B-LOC', 'O'], ['LOC'])
    """
    if isinstance(value, Mapping):
        return [name for part in value.values() for name in label_names(part)]
    if not isinstance(value, (list, tuple)):
        return [str(value)]
    return [_label_name(item) for item in value]


def _label_name(value: Any) -> str:
    if isinstance(value, Mapping) and "start" in value:
        return str(value.get("type", value.get("label")))
    return str(value[2]) if isinstance(value, (list, tuple)) and len(value) == 3 else str(value)


def contradictions(task: Any, splits: Iterable[str]) -> int:
    """Return the number of texts that have different labels of a task in different places of the splits."""
    texts, labels = array("Q"), array("Q")
    for split in splits:
        for example, value in task.labelled(split):
            texts.append(digest(example.text, example.pair))
            labels.append(digest(value))
    if not texts:
        return 0
    pairs = np.unique(np.stack([_numbers(texts), _numbers(labels)], axis=1), axis=0)
    return int(np.count_nonzero(np.unique(pairs[:, 0], return_counts=True)[1] > 1))


def histogram(lengths: Iterable[int], bins: int = 8, width: int = 40) -> list[tuple[str, int, str]]:
    """Return bars of the lengths, `(range, count, bar)`: bins of equal width, the last one open for the longest hundredth.

    Example:

    >>> for row in histogram([1, 2, 2, 8], bins=2, width=6):
    ...     print(*row)
    1-4 3 ██████
    5-8 1 ██
    """
    values = np.asarray(lengths)
    if not len(values):
        return []
    low, high = int(values.min()), int(np.percentile(values, 99, method="higher"))
    step = max(1, -(-(high - low + 1) // bins))
    last = (high - low) // step
    counts = np.bincount(np.minimum((values - low) // step, last))
    starts = [low + i * step for i in range(len(counts))]
    ends = [*(start - 1 for start in starts[1:]), int(values.max())]
    names = [f"{start}-{end}" if end > start else str(start) for start, end in zip(starts, ends, strict=True)]
    return list(zip(names, counts.tolist(), _bars(counts, width), strict=True))


def number_histogram(numbers: Iterable[float], bins: int = 8, width: int = 40) -> list[tuple[str, int, str]]:
    """Return bars of numbers, `(range, count, bar)`: bins of equal width from the smallest to the greatest.

    Example:

    >>> for row in number_histogram([0.5, 1.0, 1.0, 4.5], bins=2, width=4):
    ...     print(*row)
    0.5 to 2.5 3 ████
    2.5 to 4.5 1 █▍
    """
    values = np.asarray(numbers, np.float64)
    if not len(values):
        return []
    distinct = np.unique(values)
    if len(distinct) <= bins:
        counts = np.array([np.count_nonzero(values == number) for number in distinct])
        names = [f"{number:g}" for number in distinct]
    else:
        counts, edges = np.histogram(values, bins)
        names = [f"{low:.4g} to {high:.4g}" for low, high in pairwise(edges)]
    return list(zip(names, counts.tolist(), _bars(counts, width), strict=True))


def _bars(counts: np.ndarray, width: int) -> list[str]:
    eighths = " ▏▎▍▌▋▊▉"
    parts = [divmod(round(8 * width * int(count) / int(counts.max())), 8) for count in counts]
    return [("█" * full + eighths[part]).rstrip() for full, part in parts]


def unseen_labels(facts: Mapping[str, TaskFacts]) -> dict[str, Counter]:
    """Return the labels that are missing in the training split: split -> label -> count; splits without such labels are left out.

    Example:

    >>> facts = {"train": TaskFacts(1, Counter(up=1)), "test": TaskFacts(2, Counter(up=1, so=1))}
    >>> unseen_labels(facts)
    {'test': Counter({'so': 1})}
    """
    seen = facts["train"].labels if "train" in facts else None
    if seen is None:
        return {}
    found = {}
    for split, part in facts.items():
        if counts := Counter({name: count for name, count in (part.labels or {}).items() if name not in seen}):
            found[split] = counts
    return found
