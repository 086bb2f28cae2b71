"""Callbacks for `fit`."""

from mtl.callbacks.best_model import BestModel
from mtl.callbacks.task_board import TaskBoard
from mtl.training.resume.checkpoint import Checkpoint

__all__ = ["BestModel", "Checkpoint", "TaskBoard"]
