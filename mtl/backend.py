"""The backend of Keras that the package stands on."""

__all__ = ["require_tensorflow"]


def require_tensorflow() -> None:
    """Checks that Keras runs on TensorFlow, whatever chose its backend: `KERAS_BACKEND` or `keras.json`.

    Raises:
        RuntimeError: Keras runs, or was to run, on another backend.

    Example:

    >>> require_tensorflow()
    """
    try:
        import keras
    except ModuleNotFoundError as error:
        # Keras imports its backend's package at once, and says no more than that package's name.
        if error.name not in ("jax", "openvino", "torch"):
            raise
        raise RuntimeError(_message(f"one that needs '{error.name}', which is not installed")) from error
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(_message(f"'{keras.backend.backend()}'"))


def _message(received: str) -> str:
    return (
        f"mtl expects Keras with the backend 'tensorflow'; Keras is set to {received}. "
        "Set the environment variable KERAS_BACKEND=tensorflow before keras is imported."
    )
