"""Readers of data formats, one file per format."""
