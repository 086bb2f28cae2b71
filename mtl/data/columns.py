"""Columns of a batch."""

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
    "made_from_texts",
    "padded_shape",
    "row_values",
]

Axes = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """Values that every row of a batch has under one name.

    Encoders and heads declare the columns that they read. The model's inputs, the prepared and stored data, the signature of the
    batches, and the preprocessing of texts in prediction and in exported models are derived from these declarations.

    Args:
        name: key in a batch's `x`.
        axes: axes after the batch axis: numbers, or names, such as `"tokens"`, for lengths that differ between rows. Axes with
            the same name have the same length in each row.
        dtype: NumPy dtype name.
        filler: value of positions beyond a row's length.
        values: function of an example and its tokens that returns the row's values, an array with these axes; None for ones
            along the whole axis, which with a filler of 0 mark the positions that are not padding.
        default: function of the given columns, as tensors, that returns the values if a batch lacks the column; None if required.
        stored_dtype: dtype on disk, if a narrower one holds the values; None for `dtype`.
        reads_offsets: whether `values` reads the tokens' offsets in the text. Tokenization is faster if no column does.

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
        """Sizes of the axes, None for those that differ between rows."""
        return tuple(None if isinstance(axis, str) else axis for axis in self.axes)

    @property
    def identity(self) -> list[str]:
        """Texts that identify what prepared values depend on."""
        made = getattr(self.values, "__qualname__", type(self.values).__name__)
        return [self.name, str(self.axes), self.dtype, str(self.stored_dtype), made]


@dataclass(frozen=True, slots=True)
class Target:
    """Axes and dtype of one row's target.

    Args:
        axes: see `Column`: `()` for one value per row, `(n,)`, `("tokens",)` for one value per token, `("words", "words")`
            for one per pair of words.
        dtype: NumPy dtype name.
        weight_axes: axes of its weights; None for those of the target if one of them is named, and otherwise one weight per row.

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


def row_values(column: Column, example: Example, encoding: Encoding, lengths: Mapping[str, int]) -> np.ndarray:
    """Return a column's values for one row; `lengths` holds those of the axes that columns with values have."""
    if column.values is None:
        return np.ones(padded_shape(column.axes, lengths), column.dtype)
    return np.asarray(column.values(example, encoding))


def is_named(axes: Axes) -> bool:
    """Return whether the axes' lengths differ between rows."""
    return any(isinstance(axis, str) for axis in axes)


def padded_shape(axes: Axes, lengths: Mapping[str, Any]) -> tuple:
    """Return the shape of axes, with the given lengths for named ones.

    Example:

    >>> padded_shape(("words", 4), {"words": 7})
    (7, 4)
    """
    return tuple(lengths[axis] if isinstance(axis, str) else axis for axis in axes)


def _word_mask(example: Example, encoding: Encoding) -> np.ndarray:
    """Return 1 at the tokens at which words of the first text are read, and 0 elsewhere."""
    spans = example.words if example.words is not None else split_words(example.text)
    result = np.zeros(len(encoding), np.int8)
    first = encoding.word_tokens(spans)
    result[first[first >= 0]] = 1
    return result


def _token_mask(example: Example, encoding: Encoding) -> np.ndarray:
    """Return 1 at the tokens of the first text that cover characters which no earlier token covers, and 0 elsewhere."""
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
    """Return all columns that an encoder and heads read, the encoder's first.

    Raises:
        ValueError: if two of them declare different columns with the same name.
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


def made_from_texts(columns: Mapping[str, Column]) -> list[Column]:
    """Return the columns that have `values`; the others mark an axis of these, or that of tokens.

    Raises:
        ValueError: one of the others does not.
    """
    made = [column for column in columns.values() if column.values is not None]
    measured = {"tokens", *(axis for column in made for axis in column.axes)}
    for name, column in columns.items():
        if column.values is None and (len(column.axes) != 1 or column.axes[0] not in measured):
            raise ValueError(
                "A column without values marks one axis, that of tokens or of a column with values; "
                f"'{name}' has the axes {list(column.axes)}. Give it values."
            )
    return made


def encoder_columns(names: Sequence[str], pad_id: int) -> tuple[Column, ...]:
    """Return the columns of an encoder whose inputs have standard names.

    Raises:
        ValueError: if a name is not standard.
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
    """Return a batch's columns as tensors, with missing ones set to their defaults.

    Args:
        x: the given columns by name; a single array holds token ids.
        columns: the required columns by name.

    Raises:
        ValueError: if a name is unknown, a column without a default is missing, or a shape does not have the column's axes.
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
    for name, value in given.items():
        axes = ("rows", *columns[name].axes)
        if len(value.shape) != len(axes):
            raise ValueError(
                f"The model expects {name.replace('_', ' ')} of shape [{', '.join(map(str, axes))}]; got {tuple(value.shape)}. "
                "Give several inputs as a dict by name."
            )
    for name, column in columns.items():
        if name in given:
            continue
        if column.default is None:
            raise ValueError(f"The model expects x['{name}']; got {sorted(x)}. Give it, as mtl.data.mix does.")
        given[name] = keras.ops.cast(column.default(given), column.dtype)
    return {name: given[name] for name in columns}
