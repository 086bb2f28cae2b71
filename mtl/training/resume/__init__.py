"""Training that continues from where it was interrupted."""

__all__: list[str] = []
