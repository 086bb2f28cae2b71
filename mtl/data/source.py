"""Sources of examples."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mtl.data.example import Example
from mtl.utils import unknown_name
from mtl.utils.arguments import checked

__all__ = ["SPLITS", "Source", "checked_fractions", "fingerprint_of", "split_of"]

SPLITS = ("train", "validation", "test")


class Source:
    """Streams of examples, one per split.

    A source is made by a function (`mtl.data.csv`, `mtl.data.conll`, ...). It yields one example at a time, and can be read
    repeatedly, always in the same order.

    Args:
        name: name in errors and tables, such as the file's name.
        read: split -> function without arguments that starts a new pass over that split's examples.
        labels: names of the labels that the examples carry.
        fingerprint: text that changes when the examples change (such as a digest of the files). None: the
            source is never cached between processes.
    """

    @checked
    def __init__(
        self,
        name: str,
        read: Mapping[str, Callable[[], Iterator[Example]]],
        labels: tuple[str, ...],
        fingerprint: str | None = None,
    ):
        self.name = name
        self._read = dict(read)
        self.labels = tuple(labels)
        self.fingerprint = fingerprint
        #: split -> number of malformed records that the last pass skipped (`on_error="skip"`).
        self.skipped: dict[str, int] = {}

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits."""
        return tuple(self._read)

    def examples(self, split: str = "train") -> Iterator[Example]:
        """Start a new pass over the examples of one split.

        Raises:
            ValueError: if the source has no such split.
        """
        if split not in self._read:
            raise unknown_name(f"split of source '{self.name}'", split, self._read)
        return self._read[split]()

    def __repr__(self) -> str:
        return f"Source({self.name!r}, splits={list(self.splits)}, labels={list(self.labels)})"


def checked_fractions(fractions: Mapping[str, float]) -> dict[str, float]:
    """Return the shares of the splits after checking them.

    Raises:
        ValueError: if a split is unknown, a share is negative, or their sum exceeds 1.
    """
    for split in fractions:
        if split not in SPLITS:
            raise unknown_name("split in fractions", split, SPLITS)
    if not 0 < sum(fractions.values()) < 1 + 1e-6 or min(fractions.values()) < 0:
        raise ValueError(
            f"Expected fractions of 0 or more that add up to at most 1, got {dict(fractions)}; "
            "give shares such as {'train': 0.8, 'validation': 0.1, 'test': 0.1}, or None to keep all in 'train'."
        )
    return dict(fractions)


def split_of(text: str, fractions: Mapping[str, float], seed: int = 0) -> str | None:
    """Return the split of a text, from a hash of the text and the seed; None for a text that belongs to none.

    Equal texts are in the same split, whatever else the file holds, so no text is in two splits; nothing is stored.

    Args:
        text: text (for pairs, both texts).
        fractions: split -> share of the texts; if their sum is below 1, the remaining texts are left out.
        seed: seed of the hash; another seed gives another split.

    Example:

    >>> split_of("a text", {"train": 0.8, "validation": 0.1, "test": 0.1})
    'train'
    """
    digest = hashlib.blake2b(f"{seed}\0{text}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    position = int.from_bytes(digest, "big") / 2.0**64
    for split, share in fractions.items():
        position -= share
        if position < 0:
            return split
    return list(fractions)[-1] if sum(fractions.values()) > 1 - 1e-6 else None  # The sum is 1 up to rounding: the last split.


def fingerprint_of(*parts: Any) -> str:
    """Return a short digest of objects that their `repr` identifies."""
    return hashlib.blake2b(repr(parts).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
