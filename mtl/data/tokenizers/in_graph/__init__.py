"""Tokenizers as TensorFlow graph operations, for exported models."""
