"""What data and results hold, as facts and tables."""

__all__: list[str] = []
