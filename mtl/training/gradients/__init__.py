"""Gradients of each task, and how they become one update."""
