"""What the command line and recipes stand on."""

__all__ = []
