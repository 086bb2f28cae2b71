"""For tools that expect a setup.py; everything is in setup.cfg."""

from setuptools import setup

setup()
