"""Models from files that may be damaged, or made to do harm."""

import zipfile
from pathlib import Path
from typing import Any

from mtl.utils import parse_json, printable, regular_file
from mtl.utils.configs import check_config

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
    try:
        model = keras.saving.load_model(path)
    except Exception as error:  # From bytes that are not those written, Keras, h5py and TensorFlow raise of every kind.
        raise ValueError(f"'{path}' cannot be read as a model: {_reason(error)}") from error
    if not isinstance(model, mtl.MultiTaskModel):
        raise ValueError(f"Expected a saved MultiTaskModel; '{path}' holds a {type(model).__name__}.")
    return model


def _config(path: Path) -> dict[str, Any]:
    """The configuration in a `.keras` file."""
    try:
        with zipfile.ZipFile(path) as archive:
            if (size := archive.getinfo("config.json").file_size) > LARGEST_CONFIG:
                raise ValueError(f"its configuration has {size:,} bytes, more than {LARGEST_CONFIG:,}")
            content = archive.read("config.json")
    except Exception as error:  # zlib, lzma, struct and others, for damaged archives.
        raise ValueError(
            f"Expected a .keras file; '{path}' is damaged or none: {_reason(error)} Write or fetch it anew."
        ) from error
    return parse_json(content, f"{path}/config.json")


def _reason(error: Exception) -> str:
    """An error as one sentence; Keras's go on with the whole configuration."""
    lines = [line for line in str(error).split("\n") if line.strip()]
    within = [line.partition("Exception encountered: ")[2] for line in lines if line.startswith("Exception encountered: ")]
    text = " ".join((within or lines or [type(error).__name__])[-1 if within else 0].split())
    text = printable(text if len(text) <= 300 else text[:297] + "...")
    return text if text.endswith(".") else f"{text}."
