"""Balancers: one file per method."""
