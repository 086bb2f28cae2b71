"""One-sentence errors for failures outside the training."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import tensorflow as tf

from mtl.training.keras_internals.strategies import several_processes

__all__ = ["explained"]

#: Errors of the other processes when one has ended.
GONE = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError)
CONNECTION = re.compile("connect|socket|peer|rpc|heartbeat|collective", re.IGNORECASE)
ASSERTED = re.compile(r"assertion failed: \[(Expected class ids .*?)\] \[(-?\d+)\]")
NO_FILE = re.compile("No such file|FileNotFoundError|file .*does not exist", re.IGNORECASE)

#: Names of operations in TensorFlow's messages.
NAMES = re.compile(r"\{\{.*?\}\}( = \w+\[.*?\]\(.*?\))? ?|\[Op:\w+\]|Detected at node .*|Error in user-defined .*?: (?=\w+Error)")


@contextmanager
def explained(strategy: Any) -> Iterator[None]:
    """Context of a training; explains the errors for a worker that ended, a missing data file, and an invalid target.

    Args:
        strategy: the model's strategy, or None.

    Raises:
        ConnectionError: another worker ended.
        FileNotFoundError: a data file no longer exists.
        ValueError: a class id that the head does not have.

    Example:

    >>> try:
    ...     with explained(None):
    ...         _ = tf.io.read_file("gone.txt")
    ... except FileNotFoundError as error:
    ...     print(str(error)[:58])
    A file of the training's data cannot be found: gone.txt; N
    """
    try:
        yield
    except (*GONE, tf.errors.InternalError) as error:
        if not several_processes(strategy) or not (isinstance(error, GONE) or CONNECTION.search(error.message)):
            raise
        raise ConnectionError(
            "Another worker of this training has ended, or cannot be reached. End all workers and start them again with the same "
            f"command; with a Checkpoint they go on from the last one. TensorFlow says: {_first_line(error)}"
        ) from error
    except tf.errors.InvalidArgumentError as error:
        if (found := ASSERTED.search(error.message)) is None:
            raise
        said = found[1].replace("\\'", "'")  # TensorFlow escapes it.
        raise ValueError(f"{said} {found[2]}. Look at the targets; a row without a label has the sample weight 0.") from None
    except (tf.errors.NotFoundError, tf.errors.UnknownError) as error:
        if not NO_FILE.search(error.message):
            raise
        raise FileNotFoundError(
            f"A file of the training's data cannot be found: {_first_line(error)}. Put it back and start again."
        ) from error


def _first_line(error: Any) -> str:
    """First line of TensorFlow's message, without positions in a graph."""
    lines = NAMES.sub("", error.message or str(error)).splitlines()
    said = [line.strip() for line in lines if line.strip() and not line.startswith((" ", "Graph execution error"))]
    return said[0][:300] if said else type(error).__name__
