"""Telling quotes that a csv writer put around values from those that are part of the text."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator

__all__ = ["writes_quotes"]

#: Lines that one quoted value may run over.
_MOST_LINES = 5000


def writes_quotes(lines: Iterable[str], delimiter: str = "\t") -> bool:
    r"""Return whether quotes stand around values as csv writers put them, rather than in a text.

    They do where every value that has quotes is one that a writer would have written so: it begins and ends with a quote, those
    inside are doubled, and either it needs quotes (for a quote, a delimiter or a line break in it) or all values of its column
    have them. One value of another form, such as `5" nails`, and all quotes are part of the texts.

    Args:
        lines: the lines of a file with their ends; read until the first value of another form.
        delimiter: what stands between two values.

    Example:

    >>> writes_quotes(['text\tmood\n', '"so ""so"" la"\tup\n']), writes_quotes(['"5" nails\tdown\n', '"so"\tup\n'])
    (True, False)
    """
    value = re.compile(rf'(?:"((?:[^"]|"")*)"|([^"{re.escape(delimiter)}\r\n]*))(?:{re.escape(delimiter)}|\Z)')
    bare: Counter[int] = Counter()  # Column -> values without quotes, with quotes, and with quotes that nothing needs.
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
                # Spreadsheets put quotes around commas too.
                needless[column] += not certain and not any(sign in inside for sign in ",;") and inside.strip() == inside != ""
            position, column = found.end(), column + 1
        if any(needless[column] and bare[column] for column in needless):
            return False
    return needed or any(count > 1 and not bare[column] for column, count in quoted.items())


def _records(lines: Iterable[str]) -> Iterator[str | None]:
    """Lines without their ends, joined while a quote is open; None for one that is never closed."""
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
