"""What data and results hold, as facts and tables."""
