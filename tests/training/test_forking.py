import os
import subprocess
import sys

import pytest

from mtl.training import forking

CHILD = """
import multiprocessing, sys
import numpy as np
import mtl

def work(used):
    tokenizer = mtl.data.Tokenizer.learn("character", ["ab"])
    encoder = mtl.encoders.Recurrent(tokenizer, embedding=2, units=2)
    return mtl.MultiTaskModel(encoder, mtl.Task("mood", mtl.heads.Classification(["a", "b"])))

def given(call):
    return () if call == "task_gradients" else (np.ones((1, 2), "int32"), *([np.zeros(1)] if call == "test_on_batch" else []))

def child(model, call):
    try:
        (model or work(0)).predict_text("ab") if call == "predict_text" else getattr(model, call)(*given(call))
    except RuntimeError as error:
        print(call, str(error)[:50], flush=True)
        sys.exit(3)

fork = multiprocessing.get_context("fork")

def ended(*arguments):
    process = fork.Process(target=child, args=arguments)
    process.start()
    process.join(120)
    return process.exitcode

assert ended(None, "predict_text") == 0
model = work(0)
model.compile("sgd")
assert ended(model, "predict_text") == 3  # Its function is made in the child.
model.predict_text("ab")
for call in ("predict_text", "predict", "fit", "evaluate", "train_on_batch", "test_on_batch"):
    assert ended(model, call) == 3, call
for call in ("predict_on_batch", "__call__", "task_gradients"):
    assert ended(model, call) == 3, call
print("done")
"""


@pytest.mark.slow
def test_a_forked_process_says_so():
    """One that was forked before TensorFlow was in use works."""
    run = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, env=dict(os.environ), timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]
    lines = run.stdout.split("\n")
    assert lines[:2] == [
        "predict_text This process was forked off one that had used Tens",
        "predict_text This process was forked off one that had used Tens",
    ]
    assert lines[-2] == "done"


def test_this_process_works(monkeypatch):
    forking.check_process()
    monkeypatch.setitem(forking._state, "useless", True)
    with pytest.raises(RuntimeError, match="This process was forked off .*'spawn'"):
        forking.check_process()
