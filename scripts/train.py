"""`mtl train` as a script: `python scripts/train.py --help`."""

from mtl.cli import main

if __name__ == "__main__":
    main("train")
