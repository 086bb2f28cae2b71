"""Models from files that may be damaged, or made to do harm."""

import zipfile
from pathlib import Path
from typing import Any

from mtl.utils import parse_json, regular_file
from mtl.utils.configs import check_config
from mtl.utils.foreign import foreign

__all__ = ["load_saved_model"]

#: Bytes that the configuration in a file may have; a vocabulary of 250,000 pieces takes 30 million.
LARGEST_CONFIG = 2**28


def load_saved_model(path: Path) -> Any:
    """The `MultiTaskModel` in a `.keras` file.

    Nothing but the file is read, and nothing that it holds is run.

    Args:
        path: the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or holds something else; or its configuration names a file, something to fetch, or code.
    """
    import keras

    import mtl

    path = regular_file(path)
    check_config(_config(path), f"'{path}'")
    with foreign(f"'{path}' cannot be read as a model"):
        model = keras.saving.load_model(path)
    if not isinstance(model, mtl.MultiTaskModel):
        raise ValueError(f"Expected a saved MultiTaskModel; '{path}' holds a {type(model).__name__}.")
    return model


def _config(path: Path) -> dict[str, Any]:
    """The configuration in a `.keras` file."""
    with foreign(f"Expected a .keras file; '{path}' is damaged or none"), zipfile.ZipFile(path) as archive:
        if (size := archive.getinfo("config.json").file_size) > LARGEST_CONFIG:
            raise ValueError(f"its configuration has {size:,} bytes, more than {LARGEST_CONFIG:,}")
        content = archive.read("config.json")
    return parse_json(content, f"{path}/config.json")
