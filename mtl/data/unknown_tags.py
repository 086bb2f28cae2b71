"""Tags that a head does not know: their number, and labelled texts without them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mtl.data.annotation import annotated_types, annotated_units, words_of
from mtl.data.example import Example
from mtl.data.spans import spans_of_tags
from mtl.utils.tags import types_of

__all__ = ["known_rows", "unknown_tags"]


def unknown_tags(value: Sequence[Any], known: Sequence[str], scheme: str | None) -> int:
    """Return how many of a label's spans or tags are of a type that is not known.

    Args:
        value: tags or spans; see `annotated_types`.
        known: known tags.
        scheme: scheme of `known`; None for tags that do not denote spans.

    Example:

    >>> unknown_tags([(0, 2, "LOC"), (3, 5, "SHIP")], ["O", "B-LOC", "I-LOC"], "BIO"), unknown_tags(["N", "X", "X"], ["N"], None)
    (1, 2)
    """
    types = types_of(known) if scheme else {"O", *known}
    counted: dict[str, int] = {}
    for item in value:
        counted[str(item)] = counted.get(str(item), 0) + 1
    first = {str(item): item for item in value}
    return sum(count for text, count in counted.items() if annotated_types([first[text]], scheme) - types)


def known_rows(
    gold: Sequence[Any],
    predicted: Sequence[Mapping[str, Any]],
    examples: Sequence[Example],
    level: str,
    known: Sequence[str] | None,
    scheme: str | None,
    overlaps: str = "raise",
) -> tuple[list[Any], list[Any], list[Any], dict[str, int]]:
    """Return labelled texts and their predictions without the words or tokens whose tags are not known.

    In the graph, such words have weight 0, and spans are read from the others.

    Args:
        gold: labels.
        predicted: predictions in the form of `Tagging.decode`.
        examples: the examples.
        level: `"word"` or `"token"`.
        known: known tags; None for all.
        scheme: scheme of `known`, or None.
        overlaps: see `annotated_units`.

    Returns:
        Labels, predictions and examples: rows without an unknown tag are unchanged, rows of which nothing is left are dropped;
        and `{"unknown": n}`, where n is the number of unknown labels.

    Example:

    >>> ships = Example.from_words(["in", "Rome", "ships"])
    >>> gold, found = ["O", "B-LOC", "B-SHIP"], {"tags": ["O", "B-LOC", "B-LOC"]}
    >>> gold, found, _, counted = known_rows([gold], [found], [ships], "word", ["O", "B-LOC", "I-LOC"], "BIO")
    >>> gold, found[0]["spans"], counted
    ([['O', 'B-LOC']], [{'start': 3, 'end': 7, 'type': 'LOC'}], {'unknown': 1})
    """
    rows: list[Any] = []
    unknown, names = 0, {*(known or ())}
    for row in zip(gold, predicted, examples, strict=True):
        value, found, example = row
        if known is None or not (others := unknown_tags(value, known, scheme)):
            rows.append(row)
            continue
        unknown += others
        units: Any = words_of(example) if level == "word" else found["offsets"]
        tags = annotated_units(value, example, units, scheme, overlaps)
        kept = [i for i, tag in enumerate(tags) if tag in names]
        words = tuple((int(start), int(end)) for start, end in (units[i] for i in kept))
        guess = [found["tags"][i] for i in kept]
        left: dict[str, Any] = {"tags": guess, "offsets": words}
        if scheme is not None:
            spans = [(words[first][0], words[end - 1][1], kind) for first, end, kind in spans_of_tags(guess)]
            left["spans"] = [{"start": start, "end": end, "type": kind} for start, end, kind in spans]
        if kept:
            rows.append(([tags[i] for i in kept], left, replace(example, words=words)))
    columns = [list(column) for column in zip(*rows, strict=True)] if rows else [[], [], []]
    return *columns, {"unknown": unknown} if unknown else {}  # type: ignore[return-value]
