"""Multi-task learning on text with Keras 3 and TensorFlow."""

from mtl.backend import bfloat16_products, require_tensorflow

require_tensorflow()

from mtl import balancing, callbacks, data, encoders, heads, layers, losses, metrics, sharing, transfer
from mtl.loading import load_model
from mtl.model import MultiTaskModel
from mtl.task import Task
from mtl.version import __version__

__all__ = [
    "MultiTaskModel",
    "Task",
    "__version__",
    "balancing",
    "bfloat16_products",
    "callbacks",
    "data",
    "encoders",
    "heads",
    "layers",
    "load_model",
    "losses",
    "metrics",
    "sharing",
    "transfer",
]
