"""`mtl inspect` as a script: `python scripts/inspect_data.py --help`. (Named so because a script hides modules of its name.)"""

from mtl.cli import main

if __name__ == "__main__":
    main("inspect")
