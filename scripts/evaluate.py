"""`mtl evaluate` as a script: `python scripts/evaluate.py --help`."""

from mtl.cli import main

if __name__ == "__main__":
    main("evaluate")
