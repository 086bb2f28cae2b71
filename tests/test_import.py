"""What `import mtl` costs."""

import json
import subprocess
import sys

import pytest

HEAVY = {
    "array_record",
    "datasets",
    "keras_hub",
    "matplotlib",
    "pandas",
    "safetensors",
    "scipy",
    "seqeval",
    "sklearn",
    "tensorboard",
    "tensorflow_datasets",
    "tensorflow_text",
    "tokenizers",
    "torch",
    "transformers",
}

PROGRAM = """
import json, sys, time
start = time.perf_counter()
import keras
between, before = time.perf_counter(), set(sys.modules)
import mtl
end = time.perf_counter()
print(json.dumps({"keras": between - start, "mtl": end - between, "modules": sorted(set(sys.modules) - before)}))
"""


@pytest.fixture(scope="module")
def runs() -> list[dict]:
    """From three new processes: seconds of `import keras`, then of `import mtl`, and the modules that only the second brought."""
    command = [sys.executable, "-c", PROGRAM]
    outputs = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(3)]
    return [json.loads(output.splitlines()[-1]) for output in outputs]


def test_import_brings_no_heavy_package(runs: list[dict]) -> None:
    # Keras brings some of them where they are installed; test_layout.py sees those too.
    assert HEAVY & {module.partition(".")[0] for module in runs[0]["modules"]} == set()


def test_import_takes_little_time(runs: list[dict]) -> None:
    extra, keras = min(run["mtl"] for run in runs), min(run["keras"] for run in runs)
    # Keras itself takes about three seconds; on a slower or busier machine both take longer.
    assert extra <= max(0.3, 0.1 * keras), f"import mtl: {extra:.2f} s on top of {keras:.2f} s for Keras"
