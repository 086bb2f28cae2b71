"""What the balancing methods compute with."""

__all__: list[str] = []
