from mtl.utils.errors import nearest, unknown_name
from mtl.utils.figures import less_is_better

__all__ = ["less_is_better", "nearest", "unknown_name"]
