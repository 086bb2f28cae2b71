"""Tokenizers as TensorFlow graph operations, for exported models."""

__all__: list[str] = []
