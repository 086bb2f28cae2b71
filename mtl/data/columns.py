"""Columns: what the rows of a batch hold, by name."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np

from mtl.data.encoding import Encoding
from mtl.data.example import Example, split_words
from mtl.utils import unknown_name
from mtl.utils.texts import refuse_texts

__all__ = [
    "Axes",
    "Column",
    "PADDING_MASK",
    "SEGMENT_IDS",
    "STANDARD",
    "TOKEN_IDS",
    "TOKEN_MASK",
    "Target",
    "WORD_MASK",
    "columns_of",
    "completed",
    "encoder_columns",
    "is_named",
    "padded_shape",
    "row_values",
]

Axes = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """Values that every row of a batch has under one name.

    Encoders and heads declare the columns that they take. From these follow the inputs of the model, what is prepared and
    stored, the signature of the batches, and what predicting and exported models make of a text.

    Args:
        name: the key in a batch's `x`.
        axes: the axes after that of rows: numbers, or names, such as `"tokens"`, for lengths that differ from row to row. Axes
            of one name are of one length in each row.
        dtype: NumPy's name of the type.
        filler: the value beyond a row's own length.
        values: an example and its tokens -> the row's values, an array of these axes; None for 1 along the whole of its axis,
            which with a filler of 0 marks what is not filled.
        default: the columns given, as tensors -> the values where a batch leaves the column out; None where it must be given.
        stored_dtype: the type on disk, where a narrower one holds the values; None for `dtype`.
        reads_offsets: whether `values` reads where tokens stand in the text. Tokenizing is faster where nothing does.

    Example:

    >>> lengths = Column("word_lengths", ("words",), values=lambda example, _: [len(word) for word in example.text.split()])
    >>> lengths.values(Example("so very good"), None)
    [2, 4, 4]
    """

    name: str
    axes: Axes = ()
    dtype: str = "int32"
    filler: float = 0
    values: Callable[[Example, Encoding], Any] | None = field(default=None, compare=False)
    default: Callable[[Mapping[str, Any]], Any] | None = field(default=None, compare=False)
    stored_dtype: str | None = None
    reads_offsets: bool = True

    @property
    def static_shape(self) -> tuple[int | None, ...]:
        """The sizes of the axes, None for those that differ from row to row."""
        return tuple(None if isinstance(axis, str) else axis for axis in self.axes)

    @property
    def identity(self) -> list[str]:
        """What prepared values depend on, as texts."""
        made = getattr(self.values, "__qualname__", type(self.values).__name__)
        return [self.name, str(self.axes), self.dtype, str(self.stored_dtype), made]


@dataclass(frozen=True, slots=True)
class Target:
    """What one row's target looks like.

    Args:
        axes: as for a `Column`: `()` for one value per row, `(n,)`, `("tokens",)` for one value per token, `("words", "words")`
            for one per pair of words.
        dtype: NumPy's name of its type.
        weight_axes: axes of its weights; None for those of the target where one of them is named, and else one weight per row.

    Example:

    >>> Target(("tokens",)).weight_axes, Target((3,), "float32").weight_axes
    (('tokens',), ())
    """

    axes: Axes = ()
    dtype: str = "int32"
    weight_axes: Axes = None  # type: ignore[assignment]  # Set below.

    def __post_init__(self) -> None:
        if self.weight_axes is None:
            object.__setattr__(self, "weight_axes", self.axes if is_named(self.axes) else ())

    @property
    def per_token(self) -> bool:
        """Whether there is one value per token."""
        return self.axes[:1] == ("tokens",)


def row_values(column: Column, example: Example, encoding: Encoding) -> np.ndarray:
    """A column's values for one row."""
    if column.values is None:
        return np.ones([len(encoding)] * len(column.axes), column.dtype)
    return np.asarray(column.values(example, encoding))


def is_named(axes: Axes) -> bool:
    """Return whether a row's shape differs from row to row."""
    return any(isinstance(axis, str) for axis in axes)


def padded_shape(axes: Axes, lengths: Mapping[str, Any]) -> tuple:
    """The shape of some axes, where named ones have the lengths given.

    Example:

    >>> padded_shape(("words", 4), {"words": 7})
    (7, 4)
    """
    return tuple(lengths[axis] if isinstance(axis, str) else axis for axis in axes)


def _word_mask(example: Example, encoding: Encoding) -> np.ndarray:
    """1 at the tokens at which words of the first text are read, 0 elsewhere."""
    spans = example.words if example.words is not None else split_words(example.text)
    result = np.zeros(len(encoding), np.int8)
    first = encoding.word_tokens(spans)
    result[first[first >= 0]] = 1
    return result


def _token_mask(example: Example, encoding: Encoding) -> np.ndarray:
    """1 at the tokens of the first text that cover characters which no earlier token covers, 0 elsewhere."""
    result = np.zeros(len(encoding), np.int8)
    result[encoding.own_characters()[0]] = 1
    return result


TOKEN_IDS = Column("token_ids", ("tokens",), values=lambda _, encoding: encoding.token_ids, reads_offsets=False)
PADDING_MASK = Column("padding_mask", ("tokens",), default=lambda x: x["token_ids"] != 0)
SEGMENT_IDS = Column(
    "segment_ids",
    ("tokens",),
    values=lambda _, encoding: encoding.segment_ids,
    default=lambda x: x["token_ids"] * 0,
    stored_dtype="int8",
    reads_offsets=False,
)
WORD_MASK = Column("word_mask", ("tokens",), values=_word_mask, default=lambda x: x["padding_mask"], stored_dtype="int8")
TOKEN_MASK = Column("token_mask", ("tokens",), values=_token_mask, default=lambda x: x["padding_mask"], stored_dtype="int8")

#: The columns of this module by name.
STANDARD = {column.name: column for column in (TOKEN_IDS, PADDING_MASK, SEGMENT_IDS, WORD_MASK, TOKEN_MASK)}


def columns_of(encoder: Any, heads: Iterable[Any]) -> dict[str, Column]:
    """All columns that an encoder and heads take, the encoder's first.

    Raises:
        ValueError: two of them declare columns of one name that differ.
    """
    found: dict[str, Column] = {}
    for owner in (encoder, *heads):
        for column in owner.columns:
            if found.setdefault(column.name, column) != column:
                raise ValueError(
                    f"Columns of one name are the same for all: got {found[column.name]}, and {column} from "
                    f"{type(owner).__name__}. Rename one of them."
                )
    return found


def encoder_columns(names: Sequence[str], pad_id: int) -> tuple[Column, ...]:
    """The columns of an encoder whose inputs bear standard names.

    Raises:
        ValueError: a name that is not standard.
    """
    for name in names:
        if name not in STANDARD:
            raise ValueError(
                f"Expected an encoder's inputs among {list(STANDARD)}; got '{name}'. Declare others in its property `columns`."
            )
    filled = {
        TOKEN_IDS.name: replace(TOKEN_IDS, filler=pad_id),
        PADDING_MASK.name: replace(PADDING_MASK, default=lambda x: x[TOKEN_IDS.name] != pad_id),
    }
    return tuple(filled.get(name, STANDARD[name]) for name in names)


def completed(x: Any, columns: Mapping[str, Column]) -> dict[str, Any]:
    """A batch's columns as tensors, with those filled in that have a default.

    Args:
        x: the columns given, by name; a lone array holds token ids.
        columns: those wanted.

    Raises:
        ValueError: an unknown name, a column that must be given, or a shape of other axes.
    """
    x = dict(x) if isinstance(x, Mapping) else {TOKEN_IDS.name: x}
    if x.get(TOKEN_IDS.name) is None:
        others = sorted(x.keys() - {TOKEN_IDS.name}) or None
        raise ValueError(f"The model expects token ids as x['{TOKEN_IDS.name}']; got {others}.")
    for name in x:
        if name not in (known := dict.fromkeys([*columns, *STANDARD])):
            raise unknown_name("input", name, known)
    refuse_texts(x)
    given = {n: keras.ops.convert_to_tensor(x[n], c.dtype) for n, c in columns.items() if x.get(n) is not None}
    for name, column in columns.items():
        if name in given:
            continue
        if column.default is None:
            raise ValueError(f"The model expects x['{name}']; got {sorted(x)}. Give it, as mtl.data.mix does.")
        given[name] = keras.ops.cast(column.default(given), column.dtype)
    for name, column in columns.items():
        if len(given[name].shape) != 1 + len(column.axes):
            axes = ", ".join(map(str, ("rows", *column.axes)))
            raise ValueError(
                f"The model expects {name.replace('_', ' ')} of shape [{axes}]; got {tuple(given[name].shape)}. "
                "Give several inputs as a dict by name."
            )
    return {name: given[name] for name in columns}
