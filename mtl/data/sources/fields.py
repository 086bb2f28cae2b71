"""Selection of a record's text and labels."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mtl.data.example import Example, join_words
from mtl.data.sources.rows import Malformed, Row, shown
from mtl.data.sources.weights import weight_of
from mtl.utils import nearest, unknown_name

__all__ = ["Convert", "Field", "Fields", "Label", "Text", "class_names", "plain"]

Field = str | int
Text = Field | tuple[Field, Field]
Label = Field | Sequence[Field] | Mapping[str, Field] | None
Convert = Mapping[str, str | Callable[[Any], Any]]

_SURROGATE = re.compile("[\ud800-\udfff]")


class Fields:
    """Conversion of records to `Example`s.

    Args:
        text: field of the text, or the fields of text and pair. A value is a text or a list of words.
        label: one field, several, or label name -> field; None for records without labels. A field given without a label name
            names the label.
        convert: label name -> function of each value that is not missing; or a separator that splits values into lists, such
            as ",", for which an empty value is an empty list.
        decode: function of a field and its value that is called first, such as to decode bytes.
        weight: field of the example's importance; None: weight 1.

    Example:

    >>> Fields("text", {"topic": "class"}).row({"text": "hello", "class": "greeting"}, "here").labels
    {'topic': 'greeting'}
    """

    def __init__(
        self,
        text: Text = "text",
        label: Label = None,
        convert: Convert | None = None,
        decode: Callable[[Field, Any], Any] | None = None,
        weight: Field | None = None,
    ):
        self.text: tuple[Field, ...] = (text,) if isinstance(text, str | int) else tuple(text)
        if len(self.text) not in (1, 2):
            raise ValueError(f"Expected text to name one field, or two for a pair, got {text!r}; name the text's field.")
        if label is None:
            label = ()
        elif isinstance(label, str | int):
            label = (label,)
        self.label: dict[str, Field] = dict(label) if isinstance(label, Mapping) else {str(field): field for field in label}
        self.convert = dict(convert or {})
        self.weight = weight
        self._decode = decode
        for name, conversion in self.convert.items():
            if name not in self.label:
                raise unknown_name("label in convert", name, self.label)
            if not callable(conversion) and not (isinstance(conversion, str) and conversion):
                raise ValueError(f"Expected convert['{name}'] as a function, or a text to split values at, got {conversion!r}.")

    @property
    def names(self) -> tuple[Field, ...]:
        """Fields to read, each once."""
        weight = () if self.weight is None else (self.weight,)
        return tuple(dict.fromkeys((*self.text, *self.label.values(), *weight)))

    def check(self, name: str, known: Iterable[Field]) -> None:
        """Raise a `ValueError` for a field that the records of the source `name` do not have."""
        known = list(known)
        for field in self.names:
            if field not in known:
                raise unknown_name(f"field of '{name}'", str(field), map(str, known))

    def check_records(self, name: str, records: Iterable[Any]) -> None:
        """Raise a `ValueError` for a label or weight whose field occurs in none of the records, as a misspelt name does.

        Records are read until each field has occurred; without records there is no error.
        """
        wanted = {*self.label.values(), *(() if self.weight is None else (self.weight,))}
        known: dict[Any, None] = {}
        for record in records:
            if not wanted:
                return
            if isinstance(record, Mapping):
                wanted.difference_update(record)
                known.update(dict.fromkeys(record))
        if known and wanted:
            self.check(name, known)

    def row(self, record: Any, place: str) -> Row:
        """Return one record's example, or its error."""
        try:
            return self._example(record, place)
        except Malformed as error:
            return error.at(place)

    def _example(self, record: Any, place: str) -> Example:
        if not isinstance(record, Mapping):
            raise Malformed(f"expected a record with named fields, got {shown(record)}")
        text, *rest = [self._text(record, field) for field in self.text]
        pair = rest[0] if rest else None
        if pair is not None and not isinstance(pair, str):
            pair = join_words(pair)[0]
        labels = {name: value for name in self.label if not _missing(value := self._label(record, name))}
        weight = 1.0 if self.weight is None else weight_of(self._value(record, self.weight))
        if isinstance(text, str):
            return Example(text, pair, None, labels, place, weight)
        return Example.from_words(text, pair, labels, place, weight)

    def _text(self, record: Mapping, field: Field) -> str | list[str]:
        if field not in record:
            guess = nearest(str(field), map(str, record))
            remedy = f"name the text's field with text={guess!r}" if guess else "name the text's field with text="
            raise Malformed(f"expected a field '{field}', got {shown(list(record))}", remedy)
        value = self._value(record, field)
        parts = value if isinstance(value, list | tuple) else [value]
        for part in parts:
            if not isinstance(part, str):
                raise Malformed(f"expected a text or a list of words in '{field}', got {shown(value)}")
            if not part.isascii() and _SURROGATE.search(part):
                raise Malformed(f"expected a text in '{field}', got half of a surrogate pair in {shown(part)}")
        return value if isinstance(value, str) else list(parts)

    def _label(self, record: Mapping, name: str) -> Any:
        value = self._value(record, self.label[name])
        convert = self.convert.get(name)
        if isinstance(convert, str) and isinstance(value, str):
            return [stripped for part in value.split(convert) if (stripped := part.strip())]
        if convert is None or isinstance(convert, str) or _missing(value):
            return value
        try:
            return convert(value)
        except (ValueError, TypeError, LookupError) as error:
            raise Malformed(f"expected a value that convert['{name}'] takes, got {shown(value)} ({error})") from error

    def _value(self, record: Mapping, field: Field) -> Any:
        value = record.get(field)
        return value if self._decode is None else self._decode(field, value)


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value) or (isinstance(value, float) and value != value)


def plain(value: Any) -> Any:
    """Convert NumPy values and bytes to Python's own numbers, lists and texts.

    Raises:
        Malformed: if bytes are not UTF-8.

    Example:

    >>> plain(np.array([b"a", "\u00e9".encode()], object))
    ['a', '\u00e9']
    """
    if type(value) in (str, int, float):  # The common case.
        return value
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise Malformed(f"expected UTF-8 text, got the bytes {shown(value)}") from error
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if hasattr(value, "to_list"):  # Value of a ragged tensor.
        return plain(value.to_list())
    if isinstance(value, list | tuple):
        return [plain(part) for part in value] if isinstance(value, list) else tuple(map(plain, value))
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    return value


def class_names(feature: Any, value: Any, missing: float | None = -1) -> Any:
    """Convert class numbers to names if a feature has names for them; the number that means "not labelled" becomes None.

    Args:
        feature: a `ClassLabel` of TFDS or Hugging Face, or a sequence of them; with any other, a label stays as it is.
        value: a number, a list of numbers, or any other value of the feature.
        missing: number that means "not labelled", for classes and for other numbers, such as scores; None for no number.
            A class number below 0 always means it.
    """
    if isinstance(value, list) and hasattr(feature, "feature"):
        return [class_names(feature.feature, part, missing) for part in value]
    if isinstance(value, int | float) and not isinstance(value, bool) and value == missing:
        return None
    if not hasattr(feature, "int2str") or value is None:
        return value
    return None if value < 0 else feature.int2str(value)
