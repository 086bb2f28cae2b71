"""Wording of errors: what was expected, what came, and the remedy."""

import difflib
from collections.abc import Iterable

__all__ = ["find_name", "nearest", "unknown_name"]

#: Options that an error lists at most.
_SHOWN = 40


def nearest(name: str, options: Iterable[str]) -> str | None:
    """The option most like `name`, or None where none is like it."""
    matches = difflib.get_close_matches(str(name), [str(o) for o in options], n=1, cutoff=0.5)
    return matches[0] if matches else None


def unknown_name(what: str, name: str, options: Iterable[str]) -> ValueError:
    """A `ValueError` for a name that is not among `options`, with the nearest match.

    Example:

    >>> str(unknown_name("head", "Taging", ["Tagging", "Regression"]))
    "Unknown head 'Taging'; did you mean 'Tagging'? Known: Regression, Tagging."
    """
    options = sorted(str(o) for o in options)
    guess = nearest(name, options)
    hint = f"; did you mean '{guess}'?" if guess else "."
    known = ", ".join(options[:_SHOWN]) or "none"
    more = f" and {len(options) - _SHOWN:,} more" if len(options) > _SHOWN else ""
    return ValueError(f"Unknown {what} '{name}'{hint} Known: {known}{more}.")


def find_name(name: str, options: Iterable[str]) -> str | None:
    """The option of a name in which neither capitals nor `_` and `-` matter; None where there is none, or more than one.

    Example:

    >>> find_name("uncertainty_weighting", ["Static", "UncertaintyWeighting"])
    'UncertaintyWeighting'
    """

    def plain(text: str) -> str:
        return text.lower().replace("_", "").replace("-", "")

    options = list(options)
    alike = [each for each in options if plain(each) == plain(name)]
    return name if name in options else alike[0] if len(alike) == 1 else None
