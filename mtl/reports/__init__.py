"""Facts and tables about data and results."""
