"""Special tokens around a text or a pair of texts, and the cutting of both to a length."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["FIRST", "SECOND", "Template"]

FIRST, SECOND = -1, -2


@dataclass(frozen=True, slots=True)
class Template:
    """The order of special tokens and texts in a sequence.

    Args:
        parts: ids of special tokens, with `FIRST` and `SECOND` (negative) where the texts stand.

    Example:

    >>> Template((2, FIRST, 3, SECOND, 3)).segments
    (0, 0, 0, 1, 1)
    """

    parts: tuple[int, ...]

    @property
    def segments(self) -> tuple[int, ...]:
        """Each part's segment: 1 from the second text on."""
        second = self.parts.index(SECOND) if SECOND in self.parts else len(self.parts)
        return tuple(int(i >= second) for i in range(len(self.parts)))

    @property
    def texts(self) -> int:
        """The number of texts."""
        return 1 + (SECOND in self.parts)

    def room(self, max_length: int) -> int:
        """How many tokens of texts fit into `max_length`.

        Raises:
            ValueError: not even the special tokens fit.
        """
        special = len(self.parts) - self.texts
        if max_length < special:
            raise ValueError(f"Expected `max_length` to leave room for {special} special tokens; got {max_length}.")
        return max_length - special

    def kept(self, lengths: np.ndarray, max_length: int | None) -> np.ndarray:
        """How many tokens of each text are kept: the longer text is cut first, at equal lengths the second.

        Args:
            lengths: int `[texts, B]`.
            max_length: the most tokens in a row, or None.
        """
        if max_length is None:
            return lengths
        room = self.room(max_length)
        if self.texts == 1:
            return np.minimum(lengths, room)
        first = np.minimum(lengths[0], np.maximum(room - lengths[1], (room + 1) // 2))
        return np.stack([first, np.minimum(lengths[1], room - first)])

    def assemble(
        self, ids: Sequence[np.ndarray], offsets: Sequence[np.ndarray | None], lengths: np.ndarray, kept: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Lays the tokens of a batch out in one array, row after row.

        Args:
            ids: for each text of the template, int32 `[N]`, the tokens of all rows in a row.
            offsets: for each text, int32 `[N, 2]`, or None where they are not known.
            lengths: int `[texts, B]`, how many of them each row has.
            kept: int `[texts, B]`, how many of them stay.

        Returns:
            Token ids `[M]`, segments `[M]`, offsets `[M, 2]` and the rows' ends in them `[B]`.
        """
        order = [self.parts.index(part) for part in (FIRST, SECOND)[: self.texts]]
        widths = np.ones((len(self.parts), lengths.shape[1]), np.int64)
        widths[order] = kept
        ends = np.cumsum(widths.sum(0))
        starts = ends - widths.sum(0) + np.cumsum(widths, 0) - widths
        total = int(widths.sum())
        token_ids, segments, spans = np.zeros(total, np.int32), np.zeros(total, np.int32), np.full((total, 2), -1, np.int32)
        for part, segment, start in zip(self.parts, self.segments, starts, strict=True):
            if part >= 0:
                token_ids[start], segments[start] = part, segment
        for text, part in enumerate(order):
            count = kept[text]
            within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
            source = np.repeat(np.cumsum(lengths[text]) - lengths[text], count) + within
            target = np.repeat(starts[part], count) + within
            token_ids[target], segments[target] = ids[text][source], self.segments[part]
            if (known := offsets[text]) is not None:
                spans[target] = known[source]
        return token_ids, segments, spans, ends
