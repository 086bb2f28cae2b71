"""Models from files that may be damaged, or made to do harm."""

import zipfile
from os import PathLike
from pathlib import Path
from typing import Any

import keras

from mtl.model import MultiTaskModel
from mtl.utils import brief, parse_json, regular_file
from mtl.utils.configs import check_config, objects_in
from mtl.utils.foreign import foreign

__all__ = ["load_model", "load_saved"]

#: Bytes that the configuration in a file may have; a vocabulary of 250,000 pieces takes 30 million.
LARGEST_CONFIG = 2**28
#: Packages whose classes Keras finds by their modules.
FOUND = ("builtins", "keras", "keras_hub")


def load_model(path: str | PathLike) -> MultiTaskModel:
    """Load a `MultiTaskModel` from a `.keras` file, as `keras.saving.load_model` does, with errors of one sentence.

    Nothing but the file is read, and nothing that it holds is run.

    Args:
        path: the file.

    Returns:
        The model, compiled where it was.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or holds something else; or its configuration names a file, something to fetch, code, or
            a class that no imported module registers.

    Example:

    >>> import mtl
    >>> encoder = mtl.encoders.Recurrent(vocabulary_size=50, embedding=8, units=8)
    >>> mtl.MultiTaskModel(encoder, mtl.Task("mood", mtl.heads.Classification(2))).save("model.keras")
    >>> load_model("model.keras").task_names
    ('mood',)
    """
    model = load_saved(path)
    if not isinstance(model, MultiTaskModel):
        raise ValueError(f"Expected a saved MultiTaskModel; '{path}' holds a {type(model).__name__}.")
    return model


def load_saved(path: str | PathLike, compile: bool = True) -> Any:
    """As `load_model`, for whatever Keras saves; uncompiled where `compile` is False."""
    path = regular_file(path)
    config = _config(path)
    check_config(config, f"'{path}'")
    _check_classes(config, path)
    with foreign(f"'{path}' cannot be read as a model"):
        return keras.saving.load_model(path, compile=compile, safe_mode=True)


def _config(path: Path) -> dict[str, Any]:
    """The configuration in a `.keras` file."""
    with foreign(f"Expected a .keras file; '{path}' is damaged or none"), zipfile.ZipFile(path) as archive:
        if (size := archive.getinfo("config.json").file_size) > LARGEST_CONFIG:
            raise ValueError(f"its configuration has {size:,} bytes, more than {LARGEST_CONFIG:,}")
        content = archive.read("config.json")
    return parse_json(content, f"{path}/config.json")


def _check_classes(config: dict[str, Any], path: Path) -> None:
    """Checks that the classes of a configuration are known: those of one's own once their module is imported."""
    for part in objects_in(config, f"'{path}'"):
        name, module = part.get("registered_name") or part["class_name"], str(part.get("module"))
        known = part["class_name"].startswith("__") or module.partition(".")[0] in FOUND
        if known or keras.saving.get_registered_object(str(name)) is not None:
            continue
        raise ValueError(
            f"'{path}' needs the class {brief(name)}, which no imported module registers. Import the module that defines it "
            "(with @keras.saving.register_keras_serializable) before loading; for a command: --import MODULE"
        )
