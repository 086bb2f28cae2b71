"""`k` batches of an accumulated gradient against one batch of all their rows."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtl import MultiTaskModel, Task
from mtl.balancing import CAGrad, MGDA, FAMO, GradDrop, IMTLG, MoCo, PCGrad, SDMGrad, Static, UncertaintyWeighting
from mtl.encoders import Recurrent
from mtl.heads import Classification, Regression, Tagging
from mtl.sharing import Soft
from mtl.training.accumulation import batches_to_an_update
from tests.tiny import Bag
from tests.two_tasks import batch, make_model

LENGTH, ROWS = 3, 5
OPTIMIZERS = {
    "SGD": lambda **kwargs: keras.optimizers.SGD(0.5, momentum=0.9, **kwargs),
    "Adam": lambda **kwargs: keras.optimizers.Adam(1e-2, global_clipnorm=0.5, **kwargs),
    "AdamW": lambda **kwargs: keras.optimizers.AdamW(1e-2, weight_decay=0.1, use_ema=True, ema_overwrite_frequency=2, **kwargs),
}
BALANCERS = {
    "Static": lambda: Static({"mood": 2.0}),
    "mean": lambda: Static(reduction="mean"),
    "UncertaintyWeighting": UncertaintyWeighting,
    "PCGrad": PCGrad,
    "MGDA": MGDA,
    "CAGrad": CAGrad,
    "SDMGrad": SDMGrad,
    "MoCo": MoCo,
    "GradDrop": GradDrop,
}


def rows(windows=2, seed=0):
    """Random weights, a third of them 0; of three batches one has the second task, and of the second window none."""
    count = windows * LENGTH * ROWS
    rng = np.random.default_rng(seed + 7)
    weights = {task: rng.uniform(0.2, 2.0, count) * (rng.uniform(size=count) < 0.67) for task in ("mood", "score")}
    place = np.arange(count)
    weights["score"] *= (place // ROWS % LENGTH == 1) & (place < LENGTH * ROWS)
    return batch(count, seed, **weights)


def state(model):
    inner = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    held = [v for v in inner.variables if not v.name.startswith("window") and v.dtype == "float32"]
    return [keras.ops.convert_to_numpy(v) for v in (*model.variables, *held)]


def trained(model, data, together, **kwargs):
    x, y, weight = data
    size = ROWS * (LENGTH if together else 1)
    model.fit(x, y, sample_weight=weight, batch_size=size, shuffle=False, verbose=0, **kwargs)
    return model


def same(make, data, atol=1e-6, **kwargs):
    """Trains by one batch and by accumulation; `make` takes the optimizer's arguments."""
    one, several = trained(make(), data, True), trained(make(gradient_accumulation_steps=LENGTH), data, False, **kwargs)
    for a, b in zip(state(one), state(several), strict=True):
        np.testing.assert_allclose(b, a, atol=atol, rtol=1e-5)
    assert int(several.optimizer.iterations) == int(one.optimizer.iterations)
    return several


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("balancer", BALANCERS)
def test_batches_train_as_one(balancer, optimizer):
    same(lambda **kwargs: make_model(OPTIMIZERS[optimizer](**kwargs), BALANCERS[balancer]()), rows())
