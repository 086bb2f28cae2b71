"""`import mtl` on another backend of Keras."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest
import tensorflow as tf

from mtl.backend import bfloat16_products, require_tensorflow

REMEDY = "Set the environment variable KERAS_BACKEND=tensorflow before keras is imported."


def last_line_of_import(**environment: str) -> str:
    """What Python says last when a new process with these variables imports mtl."""
    others = {name: value for name, value in os.environ.items() if name not in ("KERAS_BACKEND", "KERAS_HOME")}
    run = subprocess.run([sys.executable, "-c", "import mtl"], env=others | environment, capture_output=True, text=True)
    assert run.returncode == 1, run.stderr
    return run.stderr.splitlines()[-1]


def test_backend_set_by_environment() -> None:
    assert last_line_of_import(KERAS_BACKEND="openvino") == (
        "RuntimeError: mtl expects Keras with the backend 'tensorflow'; "
        f"Keras is set to one that needs 'openvino', which is not installed. {REMEDY}"
    )


def test_backend_set_by_keras_json(tmp_path: Path) -> None:
    (tmp_path / "keras.json").write_text('{"backend": "openvino"}')
    assert last_line_of_import(KERAS_HOME=str(tmp_path)) == (
        "RuntimeError: mtl expects Keras with the backend 'tensorflow'; "
        f"Keras is set to one that needs 'openvino', which is not installed. {REMEDY}"
    )


def test_backend_that_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(RuntimeError) as raised:
        require_tensorflow()
    assert str(raised.value) == f"mtl expects Keras with the backend 'tensorflow'; Keras is set to 'jax'. {REMEDY}"


def test_other_missing_modules_keep_their_own_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(ModuleNotFoundError, match="keras"):
        require_tensorflow()


def test_products_in_bfloat16_until_they_are_turned_off() -> None:
    assert bfloat16_products() is False
    assert tf.config.optimizer.get_experimental_options()["auto_mixed_precision_onednn_bfloat16"] is True
    assert bfloat16_products(False) is True
    assert tf.config.optimizer.get_experimental_options()["auto_mixed_precision_onednn_bfloat16"] is False
