"""Implementation of the command line and of recipes."""

__all__ = []
