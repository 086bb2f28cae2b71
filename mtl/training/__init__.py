"""The engine under `fit`."""

from mtl.training.engine import Engine
from mtl.training.gradients.dependencies import shared_size

__all__ = ["Engine", "shared_size"]
