"""Wording of errors: what was expected, what was given, and the remedy."""

import difflib
from collections.abc import Iterable
from typing import Any

from mtl.utils.brief import printable

__all__ = ["UnknownName", "find_name", "nearest", "unknown_name"]

#: Maximum number of options that an error lists.
_SHOWN = 40
#: Maximum number of characters of a name that are shown and compared.
_LONGEST = 80


def nearest(name: str, options: Iterable[str]) -> str | None:
    """Return the option most similar to `name`, ignoring case, `_` and `-`; None if none is similar."""
    by_start: dict[str, str] = {}
    for option in map(str, options):
        by_start.setdefault(_plain(option[:_LONGEST]), option)
    matches = difflib.get_close_matches(_plain(str(name)[:_LONGEST]), by_start, n=1, cutoff=0.5)
    return by_start[matches[0]] if matches else None


class UnknownName(ValueError):
    """Error of a name that is not among the options.

    Args:
        message: the sentence.
        name: the unknown name.
    """

    def __init__(self, message: str, name: str = ""):
        super().__init__(message)
        self.name = name


def unknown_name(what: str, name: str, options: Iterable[str]) -> UnknownName:
    """Return the error for a name that is not among `options`, with the nearest match.

    Example:

    >>> str(unknown_name("head", "Taging", ["Tagging", "Regression"]))
    "Unknown head 'Taging'; did you mean 'Tagging'? Known: Regression, Tagging."
    """
    options = sorted(str(o) for o in options)
    guess = nearest(name, options)
    hint = f"; did you mean '{_cut(guess)}'?" if guess else "."
    known = ", ".join(map(_cut, options[:_SHOWN])) or "none"
    more = f" and {len(options) - _SHOWN:,} more" if len(options) > _SHOWN else ""
    message = f"Unknown {what} '{_cut(name)}'{hint} Known: {known}{more}."
    return UnknownName(message, name)


def _cut(name: Any) -> str:
    text = printable(str(name)[: _LONGEST + 1])
    return text if len(str(name)) <= _LONGEST else text[:_LONGEST] + "..."


def find_name(name: str, options: Iterable[str]) -> str | None:
    """Return the option that equals a name except for case, `_` and `-`; None if there is none, or more than one.

    Example:

    >>> find_name("uncertainty_weighting", ["Static", "UncertaintyWeighting"])
    'UncertaintyWeighting'
    """
    options = list(options)
    alike = [option for option in options if _plain(option) == _plain(name)]
    return name if name in options else alike[0] if len(alike) == 1 else None


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")
