"""Conversion of texts to one line."""

from typing import Any

__all__ = ["one_line"]


def one_line(text: Any, most: int = 200) -> str:
    """Return a text without line breaks and tabs, cut to `most` characters; never empty.

    Example:

    >>> one_line("a\\n\\tb "), one_line(" "), one_line("abcdef", most=4)
    ('a b', '(empty)', 'abc…')
    """
    line = " ".join(str(text).encode("utf-8", "replace").decode("utf-8").split()) or "(empty)"
    return line if len(line) <= most else line[: most - 1] + "…"
