from mtl.utils.errors import nearest, unknown_name

__all__ = ["nearest", "unknown_name"]
