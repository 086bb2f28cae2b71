"""What goes along with `fit`."""

from mtl.callbacks.best_model import BestModel
from mtl.callbacks.task_board import TaskBoard

__all__ = ["BestModel", "TaskBoard"]
