"""Protocols of the tasks, heads and encoders that a mixture takes."""

from typing import Any, Protocol

import numpy as np

from mtl.data.columns import Column, Target
from mtl.data.encoding import Encoding
from mtl.data.example import Example
from mtl.data.source import Source

__all__ = ["LabelEncoder", "LabelledTask", "TextEncoder"]


class LabelEncoder(Protocol):
    """Part of a head that a mixture uses: labels -> targets. Every `mtl.heads.Head` conforms.

    Attributes:
        built: whether its weights have been created.
        corrupts_inputs: whether it changes the inputs of its rows, which other tasks then cannot share.
        needs_offsets: whether `encode` reads the tokens' offsets in the text.
        cache_key: settings that targets depend on; None for all settings.
        target: axes and dtype of one row's target.
        columns: columns that it reads in addition to the encoder's.
    """

    built: bool
    corrupts_inputs: bool
    needs_offsets: bool
    cache_key: tuple[str, ...] | None

    @property
    def target(self) -> Target: ...
    @property
    def columns(self) -> tuple[Column, ...]: ...
    def get_config(self) -> dict[str, Any]: ...
    def attach(self, encoder: Any) -> None: ...
    def encode(self, value: Any, example: Example, encoding: Encoding) -> tuple[Any, Any]: ...
    def lost(self, value: Any, example: Example, encoding: Encoding, target: Any) -> int: ...
    def known(self, value: Any) -> tuple[Any, int]: ...
    def prepare_batch(
        self, x: dict[str, np.ndarray], target: np.ndarray, weight: np.ndarray, rng: np.random.Generator
    ) -> None: ...


class LabelledTask(Protocol):
    """Part of a task that a mixture uses. `mtl.Task` conforms.

    Attributes:
        name: key of its targets and weights.
        head: head that encodes its labels.
        sources: sources of its examples.
    """

    @property
    def name(self) -> str: ...
    @property
    def head(self) -> LabelEncoder: ...
    @property
    def sources(self) -> tuple[Source, ...]: ...
    def prepare(self) -> None: ...
    def label_in(self, source: Source) -> str | None: ...
    def label_of(self, source: Source) -> Any: ...
    def value(self, example: Example, source: Source) -> Any: ...


class TextEncoder(Protocol):
    """Part of an encoder that a mixture uses. Every `mtl.encoders.Encoder` with a tokenizer conforms.

    Attributes:
        tokenizer: `mtl.data.Tokenizer`.
        max_length: maximum sequence length in tokens; None for any length.
        columns: columns that it reads.
    """

    tokenizer: Any
    max_length: int | None

    @property
    def columns(self) -> tuple[Column, ...]: ...
