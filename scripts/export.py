"""`mtl export` as a script: `python scripts/export.py --help`."""

from mtl.cli import main

if __name__ == "__main__":
    main("export")
