"""Conversion of other libraries' errors."""

from collections.abc import Iterator
from contextlib import contextmanager

from mtl.utils.brief import one_sentence

__all__ = ["foreign", "reason_of"]

#: Exceptions that explain themselves, or that the data did not cause.
_OTHERS = (FileNotFoundError, GeneratorExit, KeyboardInterrupt, MemoryError, SystemExit)


@contextmanager
def foreign(what: str) -> Iterator[None]:
    """Convert any exception that a library raises on damaged or hostile data to a `ValueError` of one sentence.

    Such libraries raise exceptions of many types; panics of Rust code are not even subclasses of `Exception`.

    Args:
        what: beginning of the sentence, such as "'model.keras' cannot be read as a model".

    Raises:
        ValueError: if another exception was raised. Missing files, interrupts and lack of memory keep their exceptions.
    Example:

    >>> with foreign("'x.bin' cannot be read"):
    ...     {}["sizes"]
    Traceback (most recent call last):
    ...
    ValueError: 'x.bin' cannot be read: it lacks 'sizes'.
    """
    try:
        yield
    except _OTHERS:
        raise
    except BaseException as error:
        raise ValueError(f"{what}: {reason_of(error)}") from error


def reason_of(error: BaseException, most: int = 300) -> str:
    """Return an error as one sentence of at most `most` characters; Keras's errors may contain the whole configuration."""
    if isinstance(error, KeyError) and error.args:
        text = str(error.args[0])
        text = text if " " in text else f"it lacks '{text}'"
    elif isinstance(error, RecursionError):
        text = "it is too deep"
    else:
        lines = [line for line in str(error).split("\n") if line.strip()] or [type(error).__name__]
        inner = [line.partition("Exception encountered: ")[2] for line in lines if line.startswith("Exception encountered: ")]
        text = inner[-1] if inner else lines[0]
    text = one_sentence(text, most)
    return text if text.endswith((".", "?")) else f"{text}."
