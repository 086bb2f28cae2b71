"""Check for processes that were forked from one that had used TensorFlow."""

import os

from mtl.training.keras_internals.strategies import tensorflow_in_use

__all__ = ["check_process"]

_state = {"useless": False}


def _look() -> None:
    """Record in a forked process that TensorFlow's threads are missing; waiting for them would never end."""
    _state["useless"] = tensorflow_in_use()


def check_process() -> None:
    """Raise an error in a process in which TensorFlow would wait forever.

    Raises:
        RuntimeError: this process was forked from one that had used TensorFlow.

    Example:

    >>> check_process()
    """
    if _state["useless"]:
        raise RuntimeError(
            "This process was forked off one that had used TensorFlow, whose threads are not there any more. Start processes "
            "with multiprocessing.get_context('spawn'), or fork before the first model is made."
        )


os.register_at_fork(after_in_child=_look)
