"""Training, evaluation and prediction steps of multi-task models."""

from mtl.training.engine import Engine
from mtl.training.forking import check_process
from mtl.training.gradients.dependencies import shared_size

__all__ = ["Engine", "check_process", "shared_size"]
