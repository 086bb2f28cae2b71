"""Training that continues from where it was interrupted."""
