"""Special tokens around a text or a pair of texts, and truncation of both to a maximum length."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["FIRST", "SECOND", "Template"]

FIRST, SECOND = -1, -2


@dataclass(frozen=True, slots=True)
class Template:
    """The order of special tokens and texts in a sequence.

    Args:
        parts: ids of special tokens, with `FIRST` and `SECOND` (negative) in place of the texts.

    Example:

    >>> Template((2, FIRST, 3, SECOND, 3)).segments
    (0, 0, 0, 1, 1)
    """

    parts: tuple[int, ...]

    @property
    def segments(self) -> tuple[int, ...]:
        """Segment of each part: 1 from the second text on."""
        second = self.parts.index(SECOND) if SECOND in self.parts else len(self.parts)
        return tuple(int(i >= second) for i in range(len(self.parts)))

    @property
    def texts(self) -> int:
        """Number of texts."""
        return 1 + (SECOND in self.parts)

    def room(self, max_length: int) -> int:
        """Return the number of tokens of texts that fit into `max_length`.

        Raises:
            ValueError: if not even the special tokens fit.
        """
        special = len(self.parts) - self.texts
        if max_length < special:
            raise ValueError(f"Expected `max_length` to leave room for {special} special tokens; got {max_length}.")
        return max_length - special

    def kept(self, lengths: np.ndarray, max_length: int | None) -> np.ndarray:
        """Return how many tokens of each text to keep: the longer text is cut first, and of equally long texts the second.

        Args:
            lengths: int `[texts, B]`.
            max_length: maximum number of tokens per row, or None.
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
        """Concatenate the tokens of a batch, row after row.

        Args:
            ids: one entry per text of the template, int32 `[N]`, the concatenated tokens of all rows.
            offsets: one entry per text, int32 `[N, 2]`, or None if they are unknown.
            lengths: int `[texts, B]`, number of these tokens per row.
            kept: int `[texts, B]`, number of tokens to keep per row.

        Returns:
            Token ids `[M]`, segments `[M]`, offsets `[M, 2]`, and the end of each row in them `[B]`.
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
