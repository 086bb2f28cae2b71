"""Tokenizers in Python; `in_graph` implements the same tokenization as TensorFlow operations."""
