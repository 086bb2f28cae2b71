"""Distinguishing quotes that a CSV writer put around values from quotes that are part of the text."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator

__all__ = ["writes_quotes"]

#: Maximum number of lines of one quoted value.
_MOST_LINES = 5000


def writes_quotes(lines: Iterable[str], delimiter: str = "\t") -> bool:
    r"""Return whether the quotes of a file are those that CSV writers put around values, and not part of the texts.

    They are if every value with quotes is one that a writer would have written: it begins and ends with a quote, quotes inside
    are doubled, and either it needs quotes (for a quote, a delimiter or a line break in it) or all values of its column have
    them. If one value has another form, such as `5" nails`, all quotes are part of the texts.

    Args:
        lines: lines of a file with their ends; read until the first value of another form.
        delimiter: separator of values.

    Example:

    >>> writes_quotes(['text\tmood\n', '"so ""so"" la"\tup\n']), writes_quotes(['"5" nails\tdown\n', '"so"\tup\n'])
    (True, False)
    """
    value = re.compile(rf'(?:"((?:[^"]|"")*)"|([^"{re.escape(delimiter)}\r\n]*))(?:{re.escape(delimiter)}|\Z)')
    bare: Counter[int] = Counter()  # Column -> number of values without quotes, with quotes, and with unnecessary quotes.
    quoted: Counter[int] = Counter()
    needless: Counter[int] = Counter()
    needed = False
    for record in _records(lines):
        if record is None:
            return False
        position = column = 0
        while position < len(record):
            if not (found := value.match(record, position)):
                return False
            inside, plain = found.groups()
            if inside is None:
                bare[column] += plain != ""
            else:
                quoted[column] += 1
                certain = '""' in inside or any(sign in inside for sign in (delimiter, "\n", "\r"))
                needed |= certain
                # Spreadsheets also put quotes around commas.
                needless[column] += not certain and not any(sign in inside for sign in ",;") and inside.strip() == inside != ""
            position, column = found.end(), column + 1
        if any(needless[column] and bare[column] for column in needless):
            return False
    return needed or any(count > 1 and not bare[column] for column, count in quoted.items())


def _records(lines: Iterable[str]) -> Iterator[str | None]:
    """Yield lines without their ends, joined while a quote is open; None for a quote that is never closed."""
    record: list[str] = []
    quotes = 0
    for line in lines:
        record.append(line)
        quotes += line.count('"')
        if quotes % 2 == 0:
            yield "".join(record).rstrip("\r\n")
            record, quotes = [], 0
        elif len(record) > _MOST_LINES:
            yield None
    if record:
        yield None
