"""Storing, sampling and batching the examples of several tasks."""
