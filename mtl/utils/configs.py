"""Checks of the configurations of saved objects."""

import sys
from collections.abc import Iterator
from typing import Any

import keras

from mtl.utils.brief import brief, printable

__all__ = ["check_config", "objects_in"]

DEPTH = 200
#: Arguments of Keras and KerasHub objects that may be a file path or the name of something to download.
_FILES = ("filepath", "idf_weights", "merges", "path", "preset", "proto", "vocabulary")
#: Keras objects that run code given to them.
_CODE = ("Lambda", "TFSMLayer", "__lambda__")


def check_config(config: Any, what: str) -> None:
    """Check which objects the configuration of a saved object names, before any of them is created.

    Loading must need only the configuration and the weights beside it. So of KerasHub only networks and their layers are
    allowed, no Keras object may have a path as argument, and none may run code.

    Args:
        config: configuration, as `get_config` returns it or as a file holds it.
        what: name of the object in errors.

    Raises:
        ValueError: if it is no mapping, is too deep, or has an object that might open a file, use the network or run code.

    Example:

    >>> check_config({"cell": {"class_name": "Lambda", "module": "keras.layers", "config": {}}}, "the encoder")
    Traceback (most recent call last):
    ...
    ValueError: Expected a configuration of plain objects for the encoder; got a 'Lambda', which runs code. Load no such file.
    """
    for part in objects_in(config, what):
        _check_object(part, what)


def objects_in(config: Any, what: str) -> Iterator[dict[str, Any]]:
    """Yield the objects that a configuration describes, at every level.

    Args:
        config: the configuration.
        what: name of the object in errors.

    Raises:
        ValueError: if it is no mapping or is too deep.
    """
    if not isinstance(config, dict):
        raise ValueError(f"Expected a configuration by name for {what}; got {brief(config)}.")
    level: list[Any] = [config]
    for _ in range(DEPTH):
        for part in level:
            if isinstance(part, dict) and isinstance(part.get("class_name"), str):
                yield part
        level = [
            part
            for whole in level
            for part in (whole.values() if isinstance(whole, dict) else whole)
            if isinstance(part, (dict, list, tuple))
        ]
        if not level:
            return
    raise ValueError(f"Expected at most {DEPTH} levels in the configuration of {what}; it has more.")


def _check_object(config: dict[str, Any], what: str) -> None:
    name, module = config["class_name"], str(config.get("module"))
    registered = str(config.get("registered_name") or name)
    shown = printable(name[:80])
    expected = f"Expected a configuration of plain objects for {what}"
    if name in _CODE:
        raise ValueError(f"{expected}; got a '{shown}', which runs code. Load no such file.")
    of_keras_hub = "keras_hub" in (module.partition(".")[0], registered.partition(">")[0])
    if of_keras_hub and not _is_network(name, registered, module):
        raise ValueError(f"{expected}; got KerasHub's '{shown}', which is no layer or network. Load no such file.")
    if of_keras_hub or module.partition(".")[0] == "keras":
        inner: Any = config.get("config")
        for key in _FILES if isinstance(inner, dict) else ():
            if isinstance(inner.get(key), str):
                raise ValueError(
                    f"{expected}; got {key}={brief(inner[key])} for '{shown}': loading opens no other file. Load no such file."
                )


def _is_network(name: str, registered: str, module: str) -> bool:
    """Return whether a KerasHub object in a configuration is a backbone, or a layer that reads no file."""
    import keras_hub

    found = keras.saving.get_registered_object(registered)
    if found is None:
        found = vars(sys.modules.get(module, object)).get(name)
    if not isinstance(found, type):
        return False
    reading = (keras_hub.tokenizers.Tokenizer, keras_hub.models.Preprocessor, keras_hub.models.Task)
    return (
        issubclass(found, keras.layers.Layer)
        and not issubclass(found, reading)
        and (issubclass(found, keras_hub.models.Backbone) or not hasattr(found, "from_preset"))
    )
