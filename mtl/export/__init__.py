"""Export of models that take strings, as TensorFlow SavedModels."""

from mtl.export.exporting import export

__all__ = ["export"]
