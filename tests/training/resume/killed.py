"""Trainings that are killed and started again: `python killed.py CASE FOLDER KILLS SEED [WORKERS]`.

The folder `whole` then holds what a training made that was left alone, and `killed` what one made that was ended so often, by
SIGKILL at a random moment after a random step. Each training is a process, or one of several workers, of which one is killed and
the others must end by themselves; they are forked off before TensorFlow is in use.
"""

import json
import os
import random
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtl import MultiTaskModel, Task
from mtl.callbacks import BestModel, Checkpoint, TaskBoard
from mtl.data import Tokenizer, mix, records
from mtl.heads import Classification, Regression
from tests.tiny import Bag
from tests.two_tasks import batch

EPOCHS, STEPS = 8, 6


class Killer(keras.callbacks.Callback):
    """Ends the process a moment after a step; before the others, so that the moment may fall into their work."""

    def __init__(self, step: int, seconds: float):
        super().__init__()
        self.step, self.seconds = step, seconds

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.step -= 1
        if self.step == 0:
            threading.Timer(self.seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()


def mixture() -> dict[str, Any]:
    """Texts drawn anew each epoch, dropout, random weights of the tasks, accumulated gradients, validation."""
    rng = np.random.default_rng(3)
    texts = ["".join(rng.choice(list("abcdef"), rng.integers(1, 12))) for _ in range(50)]
    moods = records([{"text": text, "mood": text[0]} for text in texts[:31]], label="mood")
    scores = records([{"text": text, "score": float(len(text))} for text in texts[31:]], label="score")
    encoder = Bag(tokenizer=Tokenizer.learn("character", texts))
    tasks = [Task("mood", Classification(dropout=0.3), moods), Task("score", Regression(dropout=0.3), scores)]
    train = mix(tasks, encoder, batch_size=7, temperature=2.0, steps=STEPS, buckets=2, cache_dir=None)
    model = MultiTaskModel(encoder, tasks, balancer="rlw")
    model.compile(keras.optimizers.AdamW(1e-2, gradient_accumulation_steps=4))
    return {"model": model, "x": train, "validation_data": mix(tasks, encoder, "validation", batch_size=7, cache_dir=None)}


def arrays() -> dict[str, Any]:
    """Arrays, shuffled, two steps at a time, and averaged weights."""
    x, y, weight = batch(131)
    tasks = [Task("mood", Classification(3, dropout=0.3)), Task("score", Regression(mean=0.0, scale=1.0, dropout=0.3))]
    model = MultiTaskModel(Bag(), tasks, balancer="uncertainty_weighting")
    model.compile(keras.optimizers.Adam(1e-2, use_ema=True, ema_momentum=0.9), steps_per_execution=2)
    return {"model": model, "x": x, "y": y, "sample_weight": weight, "batch_size": 7, "validation_split": 0.2}


def train(case: str, folder: Path, strategy: Any = None, killer: Killer | None = None, **options: Any) -> None:
    """One training, from the newest checkpoint of a folder on; its end is `result.npz`."""
    keras.utils.set_random_seed(1)
    with strategy.scope() if strategy else tf.device("CPU:0"):
        arguments = {"mixture": mixture, "arrays": arrays}[case]()
    model = arguments.pop("model")
    callbacks: list[Any] = [
        *([killer] if killer else []),
        BestModel(folder / "best.weights.h5", monitor=["val_mood_accuracy"], patience=EPOCHS - 1),
        keras.callbacks.ReduceLROnPlateau("val_loss", patience=1, factor=0.5, min_delta=0.5),
        TaskBoard(folder / "logs", update_freq=2, examples=2 if case == "mixture" else 0, sample=0),
        Checkpoint(folder / "checkpoints", **{"every_steps": 4, **options}),
    ]
    history = model.fit(**arguments, epochs=EPOCHS, callbacks=callbacks, verbose=0).history
    result = {f"variable{i}": keras.ops.convert_to_numpy(each.value) for i, each in enumerate(model.training_state())}
    result |= {f"log_{name}": np.asarray(values) for name, values in history.items()}
    np.savez(folder / f"writing-{os.getpid()}.npz", **result)
    if model.distribute_strategy.extended.should_checkpoint:
        os.replace(folder / f"writing-{os.getpid()}.npz", folder / "result.npz")


def forked(case: str, folder: Path, killer: Killer | None = None, workers: int = 1, victim: int = 0) -> list[int]:
    """Trains in processes of their own; how each ended. The killer is the victim's."""
    clusters = [""]
    if workers > 1:
        sockets = [socket.create_server(("localhost", 0)) for _ in range(workers)]
        cluster = {"worker": [f"localhost:{each.getsockname()[1]}" for each in sockets]}
        for each in sockets:
            each.close()
        clusters = [json.dumps({"cluster": cluster, "task": {"type": "worker", "index": i}}) for i in range(workers)]
    children = []
    for index, cluster_of_one in enumerate(clusters):
        child = os.fork()
        if child == 0:
            try:
                strategy = None
                if cluster_of_one:
                    os.environ["TF_CONFIG"] = cluster_of_one
                    strategy = tf.distribute.MultiWorkerMirroredStrategy()
                train(case, folder, strategy, killer if index == victim else None)
            except BaseException:
                sys.excepthook(*sys.exc_info())
                sys.stderr.flush()
                os._exit(1)
            os._exit(0)
        children.append(child)
    statuses, begin = dict.fromkeys(children, 0), 0.0
    for _ in children:
        child, status = os.wait()
        statuses[child] = status
        if begin:
            print(f"the other ended after {time.monotonic() - begin:.1f} s", flush=True)
        begin = time.monotonic()
    return list(statuses.values())


def main(case: str, folder: Path, kills: int, seed: int, workers: int = 1) -> None:
    for name in ("whole", "killed"):
        (folder / name).mkdir(parents=True)
    start = time.monotonic()
    assert not any(forked(case, folder / "whole", workers=workers))
    print(f"whole: {time.monotonic() - start:.1f} s", flush=True)
    draw, done = random.Random(seed), 0
    while done < kills:
        # Near enough to one another that the training has not ended before the last.
        killer = Killer(draw.randint(1, 4 if kills > 3 else 2 * STEPS), draw.choice([0.0, 0.002, 0.01, 0.05]) * draw.random())
        victim = draw.randrange(workers)
        statuses = forked(case, folder / "killed", killer, workers, victim)
        if not any(statuses):
            break
        assert os.WIFSIGNALED(statuses[victim]) and os.WTERMSIG(statuses[victim]) == signal.SIGKILL, statuses
        assert all(statuses), statuses
        done += 1
        newest = max((each.name for each in (folder / "killed" / "checkpoints").glob("epoch*")), default="none")
        print(f"killed {done}, {killer.seconds * 1000:.1f} ms after a step; newest checkpoint: {newest}", flush=True)
    assert not any(forked(case, folder / "killed", workers=workers))
    print(f"kills: {done}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:]))
