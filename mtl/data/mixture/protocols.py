"""What a mixture asks of a task, of its head, and of an encoder, which stand above it."""

from typing import Any, Protocol

import numpy as np

from mtl.data.encoding import Encoding
from mtl.data.example import Example
from mtl.data.source import Source

__all__ = ["LabelEncoder", "LabelledTask", "Target", "TextEncoder"]


class Target(Protocol):
    """The form of one row's target; `mtl.heads.head.Target` is one.

    Attributes:
        shape: its shape, without the axis of tokens.
        dtype: NumPy's name of its type.
        per_token: whether there is one value per token.
    """

    @property
    def shape(self) -> tuple: ...
    @property
    def dtype(self) -> str: ...
    @property
    def per_token(self) -> bool: ...


class LabelEncoder(Protocol):
    """A head as a mixture sees it: labels -> targets; every `mtl.heads.Head` is one.

    Attributes:
        built: whether it has its weights.
        corrupts_inputs: whether it changes its rows' inputs, and so needs rows of its own.
        needs_offsets: whether `encode` reads where tokens stand in the text.
        cache_key: the settings that targets depend on; None for all of them.
        target: the form of one row's target.
        needs_mask: the mask `[B, S]` that the inputs need, `"word_mask"` or `"token_mask"`, or None.
    """

    built: bool
    corrupts_inputs: bool
    needs_offsets: bool
    cache_key: tuple[str, ...] | None

    @property
    def target(self) -> Target: ...
    @property
    def needs_mask(self) -> str | None: ...
    def get_config(self) -> dict[str, Any]: ...
    def attach(self, encoder: Any) -> None: ...
    def encode(self, value: Any, example: Example, encoding: Encoding) -> tuple[Any, Any]: ...
    def lost(self, value: Any, example: Example, encoding: Encoding, target: Any) -> int: ...
    def known(self, value: Any) -> tuple[Any, int]: ...
    def prepare_batch(
        self, x: dict[str, np.ndarray], target: np.ndarray, weight: np.ndarray, rng: np.random.Generator
    ) -> None: ...


class LabelledTask(Protocol):
    """A task as a mixture sees it; `mtl.Task` is one.

    Attributes:
        name: the key of its targets and weights.
        head: what encodes its labels.
        sources: where its examples come from.
    """

    @property
    def name(self) -> str: ...
    @property
    def head(self) -> LabelEncoder: ...
    @property
    def sources(self) -> tuple[Source, ...]: ...
    def prepare(self) -> None: ...
    def label_in(self, source: Source) -> str | None: ...
    def value(self, example: Example, source: Source) -> Any: ...


class TextEncoder(Protocol):
    """An encoder as a mixture sees it; every `mtl.encoders.Encoder` with a tokenizer is one.

    Attributes:
        tokenizer: a `mtl.data.Tokenizer`.
        max_length: the longest sequence, in tokens; None for any length.
        uses_segments: whether the inputs need `segment_ids [B, S]`.
    """

    tokenizer: Any
    max_length: int | None

    @property
    def uses_segments(self) -> bool: ...
