"""Trains the same small models under one layout: `python layouts.py LAYOUT RESULT.npz [CASE ...]`.

A layout is `one`, `mirrored2`, `mirrored4` (logical CPU devices) or `workers2` (one of two processes, told by TF_CONFIG). Of each
case the weights, the optimizer's counter, the history and the predictions are written, and of each layout what replicas drew.
"""

import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtl import MultiTaskModel, Task, balancing
from mtl.balancing import Balancer, Static
from mtl.callbacks import BestModel, Checkpoint, TaskBoard
from mtl.data import Tokenizer, mix, records
from mtl.encoders import Recurrent, Transformer
from mtl.heads import Classification, Regression, Tagging
from mtl.layers import TokenDropout
from mtl.sharing import Soft
from tests.tiny import Bag
from tests.training.test_task_variables import OPTIMIZERS, make_optimizer
from tests.two_tasks import batch

CASES: dict[str, Callable[[], dict[str, Any]]] = {}
PREDICTED = ("random_masks", "recurrent_tags")
CLIPPING = {"clipnorm": 0.05, "global_clipnorm": 0.05, "clipvalue": 0.01}
FILES = Path("files")


def case(make: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    CASES[make.__name__] = make
    return make


def data(rows: int = 61, seed: int = 0, **weights: Any) -> tuple[Any, Any, Any]:
    """Rows of five tokens, some padding; random weights, a third of them 0."""
    x, y, w = batch(rows, seed, **weights)
    rng = np.random.default_rng(seed + 100)
    x["token_ids"][np.arange(5) >= rng.integers(1, 6, rows)[:, None]] = 0
    for task in w:
        if task not in weights:
            w[task] = (rng.uniform(0, 2, rows) * (rng.uniform(size=rows) < 0.67)).astype("float32")
    return x, y, w


def two_tasks(encoder: Any = None, tags: bool = False, **kwargs: Any) -> MultiTaskModel:
    other = Task("tags", Tagging(3, dropout=0.0)) if tags else Task("score", Regression(mean=0.0, scale=1.0, dropout=0.0))
    return MultiTaskModel(encoder or Bag(), [Task("mood", Classification(3, dropout=0.0)), other], **kwargs)


def trained(
    optimizer: Any, arrays: Any = None, model: Any = None, epochs: int = 5, steps_per_execution: int = 1, **kwargs: Any
) -> dict[str, Any]:
    """What 20 steps make of a model: 5 epochs of 4 batches of 16 rows, the last of 13."""
    model = model or two_tasks()
    model.compile(optimizer, steps_per_execution=steps_per_execution)
    if isinstance(arrays, (tf.data.Dataset, tf.distribute.DistributedDataset)):
        history = model.fit(arrays, epochs=epochs, verbose=0, **kwargs).history
    else:
        x, y, w = arrays or data()
        options = {"batch_size": 16, "shuffle": False, **kwargs}
        history = model.fit(x, y, sample_weight=w, epochs=epochs, verbose=0, **options).history
    return {"model": model, "history": history, "optimizer": model.optimizer}


# What falls where ---------------------------------------------------------------------------------------------------------


@case
def dropout() -> dict[str, Any]:
    """Of tokens, embeddings, states and features, for rows that are labelled for one task, both or none."""
    encoder = Recurrent(vocabulary_size=20, embedding=4, units=4, dropout=0.4, token_dropout=0.3)
    tasks = [Task("mood", Classification(3, dropout=0.5)), Task("score", Regression(mean=0.0, scale=1.0, dropout=0.5))]
    return trained(keras.optimizers.SGD(0.1), model=MultiTaskModel(encoder, tasks))


@case
def dropout_of_attention() -> dict[str, Any]:
    """Each task's gradients, of rows that are all labelled for both."""
    encoder = Transformer(vocabulary_size=20, layers=1, width=6, heads=2, dropout=0.4)
    tasks = [Task("mood", Classification(3, dropout=0.5)), Task("score", Regression(mean=0.0, scale=1.0, dropout=0.5))]
    arrays = data(mood=np.ones(61), score=np.ones(61))
    return trained(keras.optimizers.SGD(0.1), arrays, MultiTaskModel(encoder, tasks, balancer="cagrad"))


@case
def random_masks() -> dict[str, Any]:
    """With validation, whose last batch is uneven too."""
    x, y, w = data(23, seed=7)
    return trained(keras.optimizers.AdamW(1e-2), validation_data=(x, y, w), validation_batch_size=8)


@case
def task_on_one_replica() -> dict[str, Any]:
    return trained(keras.optimizers.AdamW(1e-2), data(score=(np.arange(61) % 16 < 3).astype("float32")))


@case
def task_in_some_batches() -> dict[str, Any]:
    return trained(keras.optimizers.AdamW(1e-2, weight_decay=0.5), data(score=(np.arange(61) // 16 % 2).astype("float32")))


@case
def batches_smaller_than_replicas() -> dict[str, Any]:
    return trained(keras.optimizers.AdamW(1e-2), data(13), batch_size=3, epochs=4)


@case
def shuffled() -> dict[str, Any]:
    return trained(keras.optimizers.AdamW(1e-2), shuffle=True, validation_split=0.2)


@case
def recurrent_tags() -> dict[str, Any]:
    rng = np.random.default_rng(5)
    x, y, w = data()
    y["tags"], w["tags"] = rng.integers(0, 3, (61, 5)).astype("int32"), (rng.uniform(size=(61, 5)) < 0.5).astype("float32")
    del y["score"], w["score"]
    w["tags"] *= x["token_ids"] > 0
    model = two_tasks(Recurrent(vocabulary_size=20, embedding=4, units=4, dropout=0.0), tags=True)
    return trained(keras.optimizers.Adam(1e-2), (x, y, w), model)


@case
def transformer() -> dict[str, Any]:
    encoder = Transformer(vocabulary_size=20, layers=1, width=8, heads=2, dropout=0.0)
    return trained(keras.optimizers.SGD(0.01, momentum=0.9), model=two_tasks(encoder))


# How losses and gradients become updates ----------------------------------------------------------------------------------


def with_optimizer(name: str) -> dict[str, Any]:
    """Ftrl begins anew from zero: at small rates all its predictions are alike, and their correlation is one of roundings."""
    return trained(make_optimizer(name, rate=0.5 if name == "Ftrl" else 0.005))


def with_clipping(name: str, at: float) -> dict[str, Any]:
    return trained(keras.optimizers.SGD(0.5, momentum=0.9, **{name: at}))


CASES |= {f"optimizer_{name}": functools.partial(with_optimizer, name) for name in OPTIMIZERS}
CASES |= {name: functools.partial(with_clipping, name, at) for name, at in CLIPPING.items()}


@case
def accumulation() -> dict[str, Any]:
    """Over 3 batches, of which one, two or none have the second task."""
    score = (np.arange(61) // 16 == 1).astype("float32")
    return trained(keras.optimizers.AdamW(1e-2, gradient_accumulation_steps=3, global_clipnorm=0.1), data(score=score))


@case
def average_that_overwrites() -> dict[str, Any]:
    return trained(keras.optimizers.Adam(1e-2, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=3))


@case
def average_at_the_end() -> dict[str, Any]:
    return trained(keras.optimizers.Adam(1e-2, use_ema=True, ema_momentum=0.9))


@case
def loss_scale_with_inf() -> dict[str, Any]:
    """One row's gradient overflows, on the last replica; the step is left out and the scale halved, everywhere."""
    x, y, w = data(score=np.ones(61))
    y["score"][31] = 3e38
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.AdamW(1e-2), initial_scale=2.0**15, dynamic_growth_steps=3)
    return trained(optimizer, (x, y, w))


@case
def loss_scale_with_accumulation() -> dict[str, Any]:
    inner = keras.optimizers.AdamW(1e-2, gradient_accumulation_steps=2, use_ema=True, ema_overwrite_frequency=2)
    return trained(keras.optimizers.LossScaleOptimizer(inner, initial_scale=2.0**10))


@case
def penalties() -> dict[str, Any]:
    model = two_tasks(sharing=Soft(0.5))
    model.heads["mood"].readout.linear.kernel.regularizer = keras.regularizers.L2(0.1)
    return trained(keras.optimizers.Adam(1e-2), model=model)


class Product(Balancer):
    """A combination that is not linear."""

    def combine(self, losses: Any, active: Any = None, training: bool = True) -> Any:
        return tf.reduce_prod(tf.where(active, 1.0 + losses, 1.0))


@case
def mean_of_active() -> dict[str, Any]:
    return trained(keras.optimizers.Adam(1e-2), model=two_tasks(balancer=Static({"mood": 2.0}, reduction="mean")))


@case
def product_of_losses() -> dict[str, Any]:
    return trained(keras.optimizers.Adam(1e-2), model=two_tasks(balancer=Product()))


# Gradients between them ---------------------------------------------------------------------------------------------------


def with_balancer(balancer: Balancer, **kwargs: Any) -> dict[str, Any]:
    """Rows of one task, of both and of none; batches without the second."""
    score = np.where(np.arange(61) // 16 == 2, 0.0, data()[2]["score"])
    return trained(keras.optimizers.AdamW(1e-2), data(score=score), two_tasks(balancer=balancer, **kwargs))


def made(name: str) -> dict[str, Any]:
    cls = getattr(balancing, name)
    return with_balancer(cls(balancing.MGDA()) if cls is balancing.CRMOGM else cls())


BALANCERS = [
    name
    for name in balancing.__all__
    if isinstance(getattr(balancing, name), type) and issubclass(getattr(balancing, name), Balancer) and name != "Balancer"
]
CASES |= {f"balancer_{name}": functools.partial(made, name) for name in BALANCERS}


@case
def gradients_at_the_representation() -> dict[str, Any]:
    return with_balancer(balancing.CAGrad(), gradients_at="representation")


@case
def gradients_at_a_layer() -> dict[str, Any]:
    return with_balancer(balancing.IMTLG(), gradients_at=["embedding"])


@case
def gradients_clipped_and_accumulated() -> dict[str, Any]:
    optimizer = keras.optimizers.AdamW(1e-2, gradient_accumulation_steps=2, global_clipnorm=0.1)
    return trained(optimizer, model=two_tasks(balancer=balancing.PCGrad()), steps_per_execution=3)


@case
def gradients_with_inf() -> dict[str, Any]:
    """One row's gradient overflows, on the last replica."""
    x, y, w = data(score=np.ones(61))
    y["score"][31] = 3e38
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.AdamW(1e-2), initial_scale=2.0**15, dynamic_growth_steps=3)
    return trained(optimizer, (x, y, w), two_tasks(balancer=balancing.MoCo()))


@case
def gradients_of_recurrent_layers() -> dict[str, Any]:
    x, y, w = data()
    encoder = Recurrent(vocabulary_size=20, embedding=4, units=4, dropout=0.0)
    return trained(keras.optimizers.Adam(3e-3), (x, y, w), two_tasks(encoder, balancer=balancing.UPGrad()))


@case
def accumulated_halves() -> dict[str, Any]:
    """Rows of a window in turn; epochs of 4 batches, 3 to an update."""
    score = np.where(np.arange(61) // 16 == 2, 0.0, data()[2]["score"])
    optimizer = keras.optimizers.Adam(1e-2, gradient_accumulation_steps=3)
    return trained(optimizer, data(score=score), two_tasks(balancer=balancing.SDMGrad()))


# Data and loops -----------------------------------------------------------------------------------------------------------


@case
def three_steps_in_one() -> dict[str, Any]:
    """4 batches an epoch: the second execution finds one."""
    return trained(keras.optimizers.AdamW(1e-2), steps_per_execution=3, validation_data=data(23, seed=7))


@case
def unknown_number_of_batches() -> dict[str, Any]:
    """The end of the data is no step."""
    x, y, w = data()

    def batches() -> Iterator[Any]:
        for i in range(0, 61, 16):
            yield keras.tree.map_structure(lambda each, i=i: each[i : i + 16], (x, y, w))

    def spec(array: np.ndarray) -> tf.TensorSpec:
        return tf.TensorSpec((None, *array.shape[1:]), array.dtype)

    dataset = tf.data.Dataset.from_generator(batches, output_signature=keras.tree.map_structure(spec, (x, y, w)))
    return trained(keras.optimizers.AdamW(1e-2), dataset)


@case
def static_batches() -> dict[str, Any]:
    dataset = tf.data.Dataset.from_tensor_slices(data(64)).batch(16, drop_remainder=True)
    return trained(keras.optimizers.AdamW(1e-2), dataset)


@case
def distributed_by_the_user() -> dict[str, Any]:
    """Batches that come in parts, one a replica."""
    dataset: Any = tf.data.Dataset.from_tensor_slices(data(64)).batch(16, drop_remainder=True)
    if tf.distribute.has_strategy():
        dataset = tf.distribute.get_strategy().experimental_distribute_dataset(dataset)
    return trained(keras.optimizers.AdamW(1e-2), dataset)


@case
def mixture() -> dict[str, Any]:
    """Two sources of texts of several lengths, drawn anew each epoch."""
    rng = np.random.default_rng(3)
    texts = ["".join(rng.choice(list("abcdef"), rng.integers(1, 12))) for _ in range(50)]
    moods = records([{"text": text, "mood": text[0]} for text in texts[:31]], label="mood")
    scores = records([{"text": text, "score": float(len(text))} for text in texts[31:]], label="score")
    encoder = Recurrent(Tokenizer.learn("character", texts), embedding=4, units=4, dropout=0.0)
    tasks = [Task("mood", Classification(dropout=0.0), moods), Task("score", Regression(dropout=0.0), scores)]
    train = mix(tasks, encoder, batch_size=7, buckets=3, cache_dir=None)
    validation = mix(tasks, encoder, "validation", batch_size=3, cache_dir=None)
    return trained(keras.optimizers.AdamW(1e-2), train, MultiTaskModel(encoder, tasks), validation_data=validation)


@case
def single_batches() -> dict[str, Any]:
    """`train_on_batch` and `test_on_batch`."""
    model = two_tasks()
    model.compile(keras.optimizers.AdamW(1e-2))
    x, y, w = data()
    for i in range(0, 60, 3):
        part = keras.tree.map_structure(lambda each, i=i: each[i : i + 3], (x, y, w))
        model.train_on_batch(*part)
    logs = model.test_on_batch(x, y, w, return_dict=True)
    return {"model": model, "history": {name: [value] for name, value in logs.items()}, "optimizer": model.optimizer}


@case
def callbacks() -> dict[str, Any]:
    """Files beside the result: events and the best model; and checkpoints, in a folder that all processes share."""
    checkpoint = Checkpoint(FILES.with_name(f"{FILES.name.split('_')[0]}.checkpoints"), every_steps=3)
    best = BestModel(FILES / "best.keras")
    board = TaskBoard(FILES / "logs", examples=0, sample=0)
    return trained(keras.optimizers.AdamW(1e-2), validation_data=data(23, seed=7), callbacks=[checkpoint, best, board])


# What a process does ------------------------------------------------------------------------------------------------------


def strategy_of(layout: str) -> tf.distribute.Strategy | None:
    if layout.startswith("mirrored"):
        count = int(layout.removeprefix("mirrored"))
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
        return tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(count)])
    return tf.distribute.MultiWorkerMirroredStrategy() if layout.startswith("workers") else None


def drawn_by_replicas(strategy: tf.distribute.Strategy) -> np.ndarray:
    """Which of the same 64 tokens each replica drops in a step, `[replicas, 64]`, after two epochs."""
    with strategy.scope():
        encoder = Recurrent(vocabulary_size=20, embedding=4, units=4, dropout=0.5, token_dropout=0.5)
        model = two_tasks(encoder)
        model.compile("sgd")
    x, y, w = data()
    model.fit(x, y, sample_weight=w, batch_size=16, epochs=2, verbose=0)
    layer = next(each for each in encoder._flatten_layers() if isinstance(each, TokenDropout))

    @tf.function
    def draw() -> Any:
        return strategy.gather(strategy.run(lambda: layer(tf.fill([1, 64], 5), training=True)), axis=0)

    return draw().numpy()


def drift(strategy: tf.distribute.Strategy | None, model: keras.Model) -> float:
    """The largest difference between the replicas' copies of a variable."""
    worst = 0.0
    if strategy is None:
        return worst
    for variable in [*model.variables, *model.optimizer.variables]:
        copies = [np.asarray(each, "float64") for each in strategy.experimental_local_results(variable.value)]
        worst = max([worst, *(float(np.abs(copy - copies[0]).max(initial=0.0)) for copy in copies)])
    return worst


def main(layout: str, path: str, names: list[str]) -> None:
    global FILES
    FILES = Path(path).with_suffix(".files")
    keras.utils.set_random_seed(0)
    if len(names) > len(CASES) // 2:  # Many small graphs, of which each runs for 20 steps: not worth the time to improve them.
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    strategy = strategy_of(layout)
    result: dict[str, Any] = {}
    for name in [name for name in names if name in CASES] if names else CASES:
        keras.utils.set_random_seed(1)
        with strategy.scope() if strategy else tf.device("CPU:0"):
            done = CASES[name]()
        model = done["model"]
        result |= {f"{name}/weight{i}": weight for i, weight in enumerate(model.get_weights())}
        if name in PREDICTED:
            predicted = model.predict(data(7)[0], batch_size=4, verbose=0)
            result |= {f"{name}/prediction_{task}": value for task, value in predicted.items()}
        result |= {f"{name}/log_{key}": np.asarray(value) for key, value in done["history"].items()}
        result[f"{name}/iterations"] = done["optimizer"].iterations.numpy()
        if hasattr(done["optimizer"], "dynamic_scale"):
            result[f"{name}/scale"] = done["optimizer"].dynamic_scale.numpy()
        result[f"{name}/drift"] = np.asarray(drift(strategy, model))
        np.savez(path, **result)
        print(name, flush=True)
    if strategy and "drawn" in names:
        np.savez(path, **result, drawn=drawn_by_replicas(strategy))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
