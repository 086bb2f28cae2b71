"""`mtl predict` as a script: `python scripts/predict.py --help`."""

from mtl.cli import main

if __name__ == "__main__":
    main("predict")
