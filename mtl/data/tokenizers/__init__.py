"""Tokenizers on the host; `in_graph` holds the same as TensorFlow operations."""
