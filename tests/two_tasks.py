"""A model of two tasks on `Bag`, and a batch for it."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from mtl import MultiTaskModel, Task
from mtl.heads import Classification, Regression
from tests.tiny import Bag

Weights = Sequence[float] | np.ndarray


def make_model(optimizer: Any, balancer: Any = None, sharing: Any = None, seed: int = 1, top: bool = False) -> MultiTaskModel:
    """A compiled model of the tasks `mood`, of three classes, and `score`, a number; with `top`, of an encoder of two blocks."""
    keras.utils.set_random_seed(seed)
    tasks = [
        Task("mood", Classification(3, dropout=0.0)),
        Task("score", Regression(mean=0.0, scale=1.0, dropout=0.0)),
    ]
    model = MultiTaskModel(Bag(top=top), tasks, sharing, balancer)
    model.compile(optimizer)
    return model


def batch(
    rows: int = 8, seed: int = 0, mood: Weights | None = None, score: Weights | None = None
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Random rows of five tokens with both targets; `mood` and `score` are the rows' weights, all 1 by default."""
    rng = np.random.default_rng(seed)
    x = {"token_ids": rng.integers(1, 20, (rows, 5)).astype("int32")}
    y = {"mood": rng.integers(0, 3, rows).astype("int32"), "score": rng.normal(size=rows).astype("float32")}
    weight = {
        "mood": np.ones(rows, "float32") if mood is None else np.asarray(mood, "float32"),
        "score": np.ones(rows, "float32") if score is None else np.asarray(score, "float32"),
    }
    return x, y, weight
