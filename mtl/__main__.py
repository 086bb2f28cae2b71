"""`python -m mtl`, the command line where its script is not on the path."""

from mtl.cli import main

if __name__ == "__main__":
    main()
