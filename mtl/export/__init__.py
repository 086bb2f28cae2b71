"""Models that take strings."""

__all__: list[str] = []
