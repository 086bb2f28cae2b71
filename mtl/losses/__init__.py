from mtl.losses.binary import binary_cross_entropy
from mtl.losses.cross_entropy import class_distribution, cross_entropy
from mtl.losses.regression import absolute_error, huber, squared_error

__all__ = ["absolute_error", "binary_cross_entropy", "class_distribution", "cross_entropy", "huber", "squared_error"]
