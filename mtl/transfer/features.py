"""Training of heads on an encoder's features, which are computed once."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtl.balancing import Static
from mtl.data.columns import Column, encoder_columns
from mtl.encoders.encoder import Encoder
from mtl.model import MultiTaskModel
from mtl.sharing import Hard
from mtl.utils.arguments import checked
from mtl.utils.atomic_write import made_folder
from mtl.utils.types import Size

__all__ = ["CachedFeatures", "extract", "head_model"]


@keras.saving.register_keras_serializable("mtl")
class CachedFeatures(Encoder):
    """Encoder that returns the features that it gets as inputs.

    Args:
        input_names: names of the int32 `[B, S]` inputs.
        feature_width: width of the features.
        sequence: whether there are features per token, float32 `[B, S, H]`, besides the pooled ones, float32 `[B, H]`.
        pad_id: the id of padding.

    Example:

    >>> sorted(CachedFeatures(["token_ids", "padding_mask"], 16).input_names)
    ['padding_mask', 'pooled', 'token_ids']
    """

    def __init__(self, input_names: Sequence[str], feature_width: int, sequence: bool = False, pad_id: int = 0, **kwargs: Any):
        inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in input_names}
        features = {"pooled": keras.Input((feature_width,), dtype="float32", name="pooled")}
        if sequence:
            features["sequence"] = keras.Input((None, feature_width), dtype="float32", name="sequence")
        outputs = {name: keras.layers.Identity(name=f"given_{name}")(tensor) for name, tensor in features.items()}
        super(Encoder, self).__init__(inputs={**inputs, **features}, outputs=outputs, **kwargs)
        self.given = {"input_names": list(input_names), "feature_width": feature_width, "sequence": sequence, "pad_id": pad_id}
        self.pooling, self.tokenizer, self.max_length, self.pad_id, self.width = "given", None, None, pad_id, feature_width
        self.states = self.cuts = ()

    @property
    def token_embedding(self) -> keras.layers.Layer:
        raise ValueError("A head that shares the encoder's embeddings cannot be trained on features. Train the whole model.")

    @property
    def columns(self) -> tuple[Column, ...]:
        names: Any = self.given["input_names"]
        width: Any = self.given["feature_width"]
        features = [Column("pooled", (width,), "float32")]
        if self.given["sequence"]:
            features.append(Column("sequence", ("tokens", width), "float32"))
        return (*encoder_columns(names, self.pad_id), *features)

    @property
    def blocks(self) -> list[list[keras.layers.Layer]]:
        return []

    def get_config(self) -> dict[str, Any]:
        return {**self.given, "name": self.name}


@checked
def head_model(model: MultiTaskModel) -> MultiTaskModel:
    """Return a model of the same heads on features instead of texts, to be trained on the dataset that `extract` returns.

    The heads are the same objects, so `model` predicts with them once they are trained.

    Args:
        model: a model whose tasks share one encoder, `Hard()`.

    Raises:
        ValueError: another sharing, or a head that changes its rows' inputs.

    Example:

    >>> import numpy as np, tensorflow as tf, mtl
    >>> encoder = mtl.encoders.Recurrent(vocabulary_size=50, embedding=8, units=8)
    >>> model = mtl.MultiTaskModel(encoder, mtl.Task("mood", mtl.heads.Classification(2)))
    >>> data = tf.data.Dataset.from_tensors(({"token_ids": np.ones((4, 6), "int32")}, {"mood": np.array([0, 1, 0, 1])}))
    >>> heads = head_model(model)
    >>> heads.compile(keras.optimizers.Adam(0.01))
    >>> history = heads.fit(extract(model, data), epochs=5, verbose=0)
    >>> heads.heads["mood"] is model.heads["mood"]
    True
    """
    encoder = _encoder(model)
    features = CachedFeatures(encoder.input_names, encoder.width, _needs_sequence(model), encoder.pad_id)
    # Heads share no variables, so gradient balancers would train them by the sum of their losses.
    balancer = model.balancer if model.balancer.needs == "losses" else Static()
    return MultiTaskModel(features, model.tasks, balancer=balancer)


@checked
def extract(
    model: MultiTaskModel,
    dataset: tf.data.Dataset,
    *,
    path: str | Path | None = None,
    shuffle: bool = True,
    seed: Size = 0,
) -> tf.data.Dataset:
    """Return a dataset with the encoder's features, for the model that `head_model` returns.

    The call runs the encoder once over the dataset, without dropout. Each batch of the result has `pooled`, float32 `[B, H]`,
    and, if a head works on tokens, `sequence`, float32 `[B, S, H]`: `4 H` bytes per row, or per token. The order of the batches
    changes with the epoch; their rows do not. Extract again when the encoder's weights have changed.

    Args:
        model: a model whose tasks share one encoder, `Hard()`.
        dataset: batches `(x, y)` or `(x, y, sample_weight)`, such as those of `mtl.data.mix`; it is read once.
        path: a new or empty folder, for features that do not fit into memory; None to keep them in memory.
        shuffle: whether the order of the batches changes with the epoch.
        seed: seed of the order.

    Returns:
        A `tf.data.Dataset` of known cardinality.

    Raises:
        ValueError: an infinite or empty dataset, a folder that is not empty, another sharing than `Hard()`, or a head that
            changes its rows' inputs.

    Example:

    >>> import numpy as np, tensorflow as tf, mtl
    >>> encoder = mtl.encoders.Recurrent(vocabulary_size=50, embedding=8, units=8)
    >>> model = mtl.MultiTaskModel(encoder, mtl.Task("mood", mtl.heads.Classification(2)))
    >>> data = tf.data.Dataset.from_tensors(({"token_ids": np.ones((4, 6), "int32")}, {"mood": np.array([0, 1, 0, 1])}))
    >>> for x, y in extract(model, data):
    ...     sorted(x), tuple(x["pooled"].shape)
    (['padding_mask', 'pooled', 'token_ids'], (4, 16))
    """
    encoder, names = _encoder(model), ["pooled", *["sequence"] * _needs_sequence(model)]
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ValueError("extract expects a dataset that ends; this one repeats for ever. Leave out its repeat().")
    folder = None if path is None else _new_folder(Path(path))
    signature = {name: tf.TensorSpec((None, None), tf.int32) for name in encoder.input_names}

    @tf.function(input_signature=[signature], autograph=False)
    def compute(x: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        features = encoder(x, training=False)
        return {name: tf.cast(features[name], tf.float32) for name in names}

    stored: list[Any] = []
    specs: list[tuple[tf.DType, list[int | None]]] = []
    structure: Any = None
    for batch in dataset:
        x, *rest = batch if isinstance(batch, tuple) else (batch,)
        x = model.complete(x)
        structure = ({**x, **compute({name: x[name] for name in encoder.input_names})}, *rest)
        arrays = [np.asarray(tensor) for tensor in tf.nest.flatten(structure)]
        if not specs:
            specs = [(tf.as_dtype(array.dtype), list(array.shape)) for array in arrays]
        for (_, shape), array in zip(specs, arrays, strict=True):
            shape[:] = [size if size == other else None for size, other in zip(shape, array.shape, strict=True)]
        if folder is None:
            stored.append(arrays)
        else:
            stored.append(folder / f"{len(stored)}.npz")
            np.savez(stored[-1], *arrays)
    if not stored:
        raise ValueError("extract expects a dataset with at least one batch; this one is empty.")
    epochs = itertools.count()

    def batches() -> Iterator[Any]:
        epoch = next(epochs)
        for i in np.random.default_rng([seed, epoch]).permutation(len(stored)) if shuffle else range(len(stored)):
            yield tf.nest.pack_sequence_as(structure, stored[i] if folder is None else _load(stored[i]))

    output = tf.nest.pack_sequence_as(structure, [tf.TensorSpec(shape, dtype) for dtype, shape in specs])
    result = tf.data.Dataset.from_generator(batches, output_signature=output)
    result = result.apply(tf.data.experimental.assert_cardinality(len(stored))).prefetch(2)
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    result = result.with_options(options)
    result.shuffled_anew = shuffle
    return result


def _encoder(model: MultiTaskModel) -> Encoder:
    """Return the one encoder of a model whose heads can be trained on features."""
    if not isinstance(model.sharing, Hard) or model.sharing.top_layers:
        got = f"{type(model.sharing).__name__}({', '.join(f'{k}={v!r}' for k, v in model.sharing.get_config().items())})"
        raise ValueError(f"Features are computed once for a model whose tasks share one encoder, Hard(); got {got}.")
    if model.readouts:
        raise ValueError(f"Features are the encoder's last state; the tasks {list(model.readouts)} read all states.")
    changing = [task.name for task in model.tasks if task.head.corrupts_inputs]
    if changing:
        raise ValueError(
            f"The head of task '{changing[0]}' changes its rows' inputs in every epoch, so their features cannot be kept. "
            "Leave the task out with model.subset([...])."
        )
    return model.sharing.encoder_of(model.task_names[0])


def _needs_sequence(model: MultiTaskModel) -> bool:
    return any(task.head.target.per_token or task.head.needs_sequence for task in model.tasks)


def _new_folder(path: Path) -> Path:
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ValueError(f"extract expects a folder that is new or empty; '{path}' holds something. Remove it or name another.")
    return made_folder(path)


def _load(file: Path) -> list[np.ndarray]:
    with np.load(file) as arrays:
        return [arrays[f"arr_{i}"] for i in range(len(arrays.files))]
