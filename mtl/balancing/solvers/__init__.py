"""Solvers and numerical tools of the balancing methods."""
