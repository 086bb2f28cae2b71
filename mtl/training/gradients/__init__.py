"""Gradients of each task, and their combination into one update."""
