"""The backend of Keras that the package stands on."""

__all__ = ["bfloat16_products", "require_tensorflow"]


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


def bfloat16_products(wanted: bool = True) -> bool:
    """Has the CPU compute matrix products in bfloat16, wherever float32 is asked for.

    Sums within a product, weights, and all else stay in float32. It holds for the whole process, for functions that are traced
    after it: call it before `fit`. It wants a CPU with bfloat16 of its own (AVX-512 BF16 or AMX); on a GPU, take Keras's policy
    `mixed_bfloat16`.

    Args:
        wanted: whether to.

    Returns:
        What it was before.

    Example:

    >>> before = bfloat16_products()
    >>> bfloat16_products(before)
    True
    """
    import tensorflow as tf

    option = "auto_mixed_precision_onednn_bfloat16"
    before = bool(tf.config.optimizer.get_experimental_options().get(option, False))
    tf.config.optimizer.set_experimental_options({option: wanted})
    return before


def _message(received: str) -> str:
    return (
        f"mtl expects Keras with the backend 'tensorflow'; Keras is set to {received}. "
        "Set the environment variable KERAS_BACKEND=tensorflow before keras is imported."
    )
