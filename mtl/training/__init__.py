"""The engine under `fit`."""

from mtl.training.engine import Engine

__all__ = ["Engine"]
