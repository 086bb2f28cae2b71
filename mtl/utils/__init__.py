from mtl.utils.errors import find_name, nearest, unknown_name
from mtl.utils.metrics import less_is_better

__all__ = ["find_name", "less_is_better", "nearest", "unknown_name"]
