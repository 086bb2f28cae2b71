"""Short forms of values and texts for messages and tables, without terminal control characters."""

import json
import re
import reprlib
from itertools import islice
from typing import Any

__all__ = ["brief", "json_line", "one_sentence", "printable"]

#: Control characters except line breaks and tabs, marks that change the direction of text, and lone surrogates.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class _Brief(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 4
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = 8
        self.maxstring = self.maxother = 80

    def repr_int(self, x: int, level: int) -> str:
        # Python limits the number of digits of an integer that it converts to text.
        return f"a whole number of {x.bit_length()} bits" if x.bit_length() > 300 else super().repr_int(x, level)

    def repr_dict(self, x: dict, level: int) -> str:
        if level <= 0 and x:
            return "{...}"
        items = [
            f"{self.repr1(key, level - 1)}: {self.repr1(value, level - 1)}" for key, value in islice(x.items(), self.maxdict)
        ]
        return f"{{{', '.join([*items, *(['...'] if len(x) > self.maxdict else [])])}}}"


def brief(value: Any, most: int = 200) -> str:
    """Return the `repr` of a value in at most `most` characters, however large, deep or cyclic the value is.

    Example:

    >>> brief({"a": [1, 2]}), brief("x" * 1000, most=12), brief([[[[[[]]]]]])
    ("{'a': [1, 2]}", "'xxxxxxxx...", '[[[[[...]]]]]')
    """
    shown = printable(_Brief().repr(value))
    return shown if len(shown) <= most else shown[: most - 3] + "..."


def printable(text: Any) -> str:
    r"""Return a text with control characters escaped, so that printing it cannot change the terminal.

    Example:

    >>> print(printable("\x1b[31mred\x07"))
    \x1b[31mred\x07
    """
    return _CONTROL.sub(lambda found: _escape(ord(found[0])), str(text))


def one_sentence(text: Any, most: int = 1000) -> str:
    """Return a message on one line, in at most `most` characters, without terminal control characters.

    Example:

    >>> one_sentence("two\\n  lines"), one_sentence("abcdefgh", most=6)
    ('two lines', 'abc...')
    """
    line = printable(" ".join(str(text).split()))
    return line if len(line) <= most else f"{line[: most - 3]}..."


def json_line(value: Any) -> str:
    r"""Return a value as JSON on one line, with terminal control characters as JSON escapes.

    Example:

    >>> print(json_line({"\x9b1m": "é"}))
    {"\u009b1m": "é"}
    """
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
