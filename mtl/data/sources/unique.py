"""Sources without repeated examples."""

import hashlib
from collections.abc import Callable, Iterator

from mtl.data.example import Example
from mtl.data.source import Source, fingerprint_of
from mtl.utils import unknown_name
from mtl.utils.arguments import checked

__all__ = ["unique"]


@checked
def unique(source: Source, contradictions: str = "keep") -> Source:
    """Return the source with each text (or pair of texts) once per split.

    The first example of a text is kept; later ones are left out, whatever their labels. Memory holds sixteen bytes per text,
    not the texts.

    Args:
        source: the source.
        contradictions: what to do with texts that have different values of one label. "keep": keep the first example.
            "drop": drop all of them; the first pass over a split then reads it once more beforehand, to find them.

    Returns:
        A source that shares `skipped` with `source`.

    Raises:
        ValueError: if `contradictions` is neither "keep" nor "drop".

    Example:

    >>> from mtl.data.sources.records import records
    >>> rows = [{"text": "fine", "mood": "good"}, {"text": "so so", "mood": "good"}, {"text": "so so", "mood": "bad"}]
    >>> source = records({"train": rows}, label="mood")
    >>> [example.text for example in unique(source).examples()]
    ['fine', 'so so']
    >>> [example.text for example in unique(source, contradictions="drop").examples()]
    ['fine']
    """
    if contradictions not in ("keep", "drop"):
        raise unknown_name("contradictions", contradictions, ("keep", "drop"))
    contradicted: dict[str, set[bytes]] = {}

    def examples(split: str) -> Iterator[Example]:
        if contradictions == "drop" and split not in contradicted:
            contradicted[split] = _contradicted(source.examples(split))
        seen = set(contradicted.get(split, ()))
        for example in source.examples(split):
            key = _digest(example.text, example.pair)
            if key not in seen:
                seen.add(key)
                yield example

    def start(split: str) -> Callable[[], Iterator[Example]]:
        return lambda: examples(split)

    result = Source(
        source.name,
        {split: start(split) for split in source.splits},
        source.labels,
        source.fingerprint and fingerprint_of("unique", contradictions, source.fingerprint),
    )
    result.skipped = source.skipped
    return result


def _contradicted(examples: Iterator[Example]) -> set[bytes]:
    """Return the keys of texts that have different values of one label."""
    values: dict[bytes, bytes] = {}
    result = set()
    for example in examples:
        for name, value in example.labels.items():
            digest = _digest(value)
            if value is not None and values.setdefault(_digest(example.text, example.pair, name), digest) != digest:
                result.add(_digest(example.text, example.pair))
    return result


def _digest(*parts: object) -> bytes:
    return hashlib.blake2b(repr(parts).encode("utf-8", "surrogatepass"), digest_size=16).digest()
