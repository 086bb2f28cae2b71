"""Gradients of each task, and how they become one update."""

__all__: list[str] = []
