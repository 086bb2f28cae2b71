"""The examples of several tasks as one `tf.data.Dataset`."""

import logging
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from mtl.data.columns import Axes, Column, columns_of, padded_shape
from mtl.data.mixture.batch_sampler import BatchSampler, Group
from mtl.data.mixture.buckets import choose_buckets
from mtl.data.mixture.prepare import prepare
from mtl.data.mixture.protocols import LabelledTask, TextEncoder
from mtl.data.mixture.store import Store
from mtl.data.source import Source, fingerprint_of
from mtl.utils import expanded
from mtl.utils.arguments import checked
from mtl.utils.types import Count, Positive, Size, Weight

__all__ = ["Mixture", "cache_folder", "mix"]

logger = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Return the folder of prepared data: `MTL_CACHE_DIR`, or `mtl` in the user's cache folder."""
    if folder := os.environ.get("MTL_CACHE_DIR"):
        return Path(folder)
    try:
        return expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "mtl"
    except FileNotFoundError as error:
        raise FileNotFoundError(
            "The user has no home folder to keep tokenized data in. Set MTL_CACHE_DIR to a folder."
        ) from error


class Mixture:
    """Prepared examples and batch sampler of a dataset that `mix` returns.

    Args:
        tasks, encoder, split, max_length, cache_dir: see `mix`.
        **settings: see `mtl.data.mixture.batch_sampler.BatchSampler`.

    Attributes:
        sampler: assignment of rows to batches.
        buckets: padded lengths in use.
        groups: task names of each group of rows; rows that the same tasks label form a group and are sampled together.
        sizes: number of rows per group.
        truncated: source -> number of its texts that were truncated.
        lost: task -> number of its labels that tokens cannot express (see `Head.lost`).
        unknown: task -> number of its labels that were left out because its head does not know them.
        epoch: number of the next pass over the dataset; set it to continue where an earlier run stopped.
    """

    def __init__(
        self,
        tasks: Sequence[LabelledTask],
        encoder: TextEncoder,
        split: str,
        *,
        max_length: int | None,
        cache_dir: str | os.PathLike | None,
        **settings: Any,
    ):
        self.tasks, self.encoder, self.split = list(tasks), encoder, split
        self.epoch = 0
        self._lock = threading.Lock()
        self.columns = columns_of(encoder, [task.head for task in self.tasks])
        groups = self._read(max_length, cache_dir)
        self.sampler = BatchSampler(groups, [task.name for task in self.tasks], **settings)
        self.batch_size, self.shuffle, self.seed = self.sampler.batch_size, self.sampler.shuffle, self.sampler.seed
        self._lengths = self._padded_lengths(settings.get("buckets", 8))
        self.buckets, self.sizes, self.groups = self.sampler.buckets, self.sampler.sizes, [group.tasks for group in groups]

    def _read(self, max_length: int | None, cache_dir: str | os.PathLike | None) -> list[Group]:
        """Prepare the sources that have the split and return their rows, grouped by the tasks that label them."""
        fed: dict[int, tuple[Source, list[LabelledTask]]] = {}
        for task in self.tasks:
            for source in task.sources:
                if self.split in source.splits:
                    fed.setdefault(id(source), (source, []))[1].append(task)
        without = [task.name for task in self.tasks if not any(self.split in s.splits for s in task.sources)]
        if not fed:
            raise ValueError(f"No source of the tasks {without} has a split '{self.split}'. Give the tasks a source that has it.")
        if self.split == "train" and without:
            raise ValueError(f"Task '{without[0]}' has no source with a split 'train', so it cannot be trained. Give it one.")
        self._stores: list[Store] = []
        self.truncated: dict[str, int] = {}
        self.lost = {task.name: 0 for task in self.tasks}
        self.unknown: dict[str, int] = {}
        parts: dict[tuple[str, ...], list[tuple[int, np.ndarray, np.ndarray]]] = {}
        for number, (source, feeds) in enumerate(fed.values()):
            store = prepare(source, self.split, feeds, self.encoder, max_length, cache_dir, self.columns)
            self._stores.append(store)
            self.truncated[source.name] = self.truncated.get(source.name, 0) + store.truncated
            for name, count in store.lost.items():
                self.lost[name] += count
            for name, count in store.unknown.items():
                self.unknown[name] = self.unknown.get(name, 0) + count
                if count:
                    logger.warning(
                        "%s, split '%s': left out %d labels of task '%s' that its head does not know; give it labels=[...] that "
                        "hold them to count them.", source.name, self.split, count, name,
                    )  # fmt: skip
            together = tuple(task.name for task in feeds if not task.head.corrupts_inputs)
            for names in [together] * bool(together) + [(task.name,) for task in feeds if task.head.corrupts_inputs]:
                rows = np.flatnonzero(np.any([store.labelled(name) for name in names], axis=0))
                if len(rows):
                    parts.setdefault(names, []).append((number, rows, store.lengths[rows]))
        for sentence in self.losses():
            logger.warning("%s", sentence)
        if not parts:
            raise ValueError(f"Split '{self.split}' holds no labelled example for the tasks {[t.name for t in self.tasks]}.")
        return [Group(names, rows_of_stores) for names, rows_of_stores in parts.items()]

    def _padded_lengths(self, buckets: int | Sequence[int]) -> dict[str, list[int]]:
        """Return the padded lengths of each axis."""
        found = {"tokens": list(self.sampler.buckets)}
        count = buckets if isinstance(buckets, int) else len(buckets)
        for axis in dict.fromkeys(axis for store in self._stores for axis in store.axes if axis != "tokens"):
            sizes = np.concatenate([store.axes[axis] for store in self._stores if axis in store.axes])
            found[axis] = choose_buckets(np.maximum(sizes, 1), count)
        return found

    def losses(self) -> list[str]:
        """Return one sentence per task with labels that tokens cannot express."""
        return [
            f"{count:,} labels of '{task}' in split '{self.split}' do not come back from their tokens: their words have none or "
            "were cut off, a token also covers what is not theirs, or they overlap a label that is kept."
            for task, count in self.lost.items()
            if count
        ]

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches per epoch."""
        return self.sampler.steps_per_epoch

    def realised(self, epoch: int = 0) -> dict[str, Any]:
        """Return the number of rows and the share of each group in an epoch, and the share of tokens that are padding."""
        return self.sampler.realised(epoch)

    def signature(self) -> tuple[dict[str, tf.TensorSpec], dict[str, tf.TensorSpec], dict[str, tf.TensorSpec]]:
        """Return the shapes and dtypes of a batch."""
        rows = self.batch_size if self.sampler.drop_remainder else None
        lengths = {axis: sizes[0] if len(sizes) == 1 else None for axis, sizes in self._lengths.items()}

        def spec(axes: Axes, dtype: Any) -> tf.TensorSpec:
            return tf.TensorSpec((rows, *padded_shape(axes, lengths)), dtype)

        targets = {task.name: task.head.target for task in self.tasks}
        return (
            {name: spec(column.axes, column.dtype) for name, column in self.columns.items()},
            {name: spec(target.axes, target.dtype) for name, target in targets.items()},
            {name: spec(target.weight_axes, tf.float32) for name, target in targets.items()},
        )

    @property
    def made_of(self) -> str:
        """Description of the rows and their order that differs from that of any other data."""
        rows, digest = sum(self.sizes), fingerprint_of([store.digest for store in self._stores], self.groups)[:8]
        order = f"shuffled with the seed {self.seed}" if self.shuffle else "in order"
        return f"of {rows} rows ({digest}), {self.batch_size} in a batch, {order}"

    def batch(self, epoch: int, step: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Return one batch as NumPy arrays: `(x, y, sample_weight)`."""
        groups, positions, length = self.sampler.of(epoch)[step]
        parts = []
        for number in np.unique(groups):
            group, of_group = self.sampler.groups[number], np.flatnonzero(groups == number)
            for store, chosen, rows in group.by_store(positions[of_group]):
                parts.append((group.tasks, self._stores[store], of_group[chosen], rows))
        lengths = {"tokens": length}
        for axis in self._lengths.keys() - lengths.keys():
            longest = max((int(store.axes[axis][rows].max()) for _, store, _, rows in parts if axis in store.axes), default=0)
            lengths[axis] = next(size for size in self._lengths[axis] if size >= longest)

        def empty(axes: Axes, dtype: Any, filler: float = 0) -> np.ndarray:
            return np.full((len(groups), *padded_shape(axes, lengths)), filler, dtype)

        targets = {task.name: task.head.target for task in self.tasks}
        x = {name: empty(column.axes, column.dtype, column.filler) for name, column in self.columns.items()}
        y = {name: empty(target.axes, target.dtype) for name, target in targets.items()}
        w = {name: empty(target.weight_axes, np.float32) for name, target in targets.items()}
        for tasks, store, at, rows in parts:
            for name, column in self.columns.items():
                x[name][at] = (
                    _mask(column, store, rows, lengths)
                    if column.values is None
                    else store.values(name, rows, lengths, column.filler)
                )
            for name in tasks:
                y[name][at] = store.values(f"y.{name}", rows, lengths)
                w[name][at] = store.values(f"w.{name}", rows, lengths)
        for task in self.tasks:
            if task.head.corrupts_inputs and w[task.name].any():
                rng = np.random.default_rng([self.seed, 1 << 33, epoch if self.shuffle else 0, step])
                task.head.prepare_batch(x, y[task.name], w[task.name], rng)
        return x, y, w

    def dataset(self) -> tf.data.Dataset:
        """Return the batches of an epoch as a dataset; each iteration yields the next epoch."""

        def next_epoch() -> np.int64:
            with self._lock:
                epoch = self.epoch
                self.epoch += 1
            return np.int64(epoch)

        def passes(_: tf.Tensor) -> tf.data.Dataset:
            return self._from(tf.numpy_function(next_epoch, [], tf.int64) if self.shuffle else tf.constant(0, tf.int64), 0)

        dataset = self._finished(tf.data.Dataset.range(1).flat_map(passes), self.steps_per_epoch)
        dataset.mixture = self
        return dataset

    def at(self, epoch: int, step: int) -> tf.data.Dataset:
        """Return the batches of one epoch from `step` on, without making the earlier ones, and set `epoch` to the next one."""
        self.epoch = epoch + 1
        batches = self._from(tf.constant(epoch if self.shuffle else 0, tf.int64), step)
        return self._finished(batches, max(0, self.steps_per_epoch - step))

    def _from(self, epoch: tf.Tensor, step: int) -> tf.data.Dataset:
        signature = self.signature()
        flat = tf.nest.flatten(signature)

        def numpy_batch(epoch: np.int64, step: np.int64) -> list[np.ndarray]:
            return tf.nest.flatten(self.batch(int(epoch), int(step)))

        def batch(step: tf.Tensor) -> Any:
            arrays = tf.numpy_function(numpy_batch, [epoch, step], [spec.dtype for spec in flat], stateful=False)
            for array, spec in zip(arrays, flat, strict=True):
                array.set_shape(spec.shape)
            return tf.nest.pack_sequence_as(signature, arrays)

        return tf.data.Dataset.range(step, self.steps_per_epoch).map(batch, 2, deterministic=True)

    def _finished(self, dataset: tf.data.Dataset, steps: int) -> tf.data.Dataset:
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(steps)).prefetch(4)
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
        return dataset.with_options(options)


def _mask(column: Column, store: Store, rows: np.ndarray, lengths: Mapping[str, int]) -> np.ndarray:
    """Return 1 where a row has a value along the mask column's axis, and 0 elsewhere."""
    (axis,) = column.axes
    return np.arange(lengths[str(axis)]) < store.axes[str(axis)][rows][:, None]


@checked
def mix(
    tasks: Any,
    encoder: TextEncoder,
    split: str = "train",
    *,
    batch_size: Count = 32,
    sampling: str | None = None,
    weights: Mapping[str, Weight] | None = None,
    temperature: Positive | None = None,
    cap: Count | None = None,
    epochs: Count | None = None,
    mixed: bool = True,
    steps: Count | None = None,
    shuffle: bool | None = None,
    seed: Size = 0,
    buckets: int | Sequence[int] = 8,
    max_length: Count | None = None,
    drop_remainder: bool = False,
    cache_dir: str | os.PathLike | None | bool = True,
) -> tf.data.Dataset:
    """Return the examples of several tasks as one dataset of batches `(x, y, sample_weight)`.

    A batch holds rows of any task. `x` is one dict for all rows: `token_ids`, `padding_mask` (and `segment_ids`, `word_mask`
    where used), int32 `[B, S]`. `y` and `sample_weight` have one entry per task; a weight of 0 means that the row has no label
    for the task. Texts are tokenized and labels encoded only once. Rows of similar length share a batch. The order is a function
    of `seed` and the epoch.

    Args:
        tasks: one task or several.
        encoder: an encoder that has a tokenizer.
        split: the split of the tasks' sources to read.
        batch_size: number of rows per batch.
        sampling: how often each task is drawn in training: `"proportional"` (each example once per epoch), `"uniform"`,
            `"weights"`, `"temperature"` or `"annealed"`; see `mtl.data.mixture.sampling.shares`. By default it follows from
            `weights` or `temperature`, where given.
        weights: task -> sampling weight, for `"weights"`; the weights of tasks that label the same rows are added.
        temperature: for `"temperature"`; 1 is proportional, larger values are closer to uniform.
        cap: for `"temperature"`, the maximum size that a task counts with.
        epochs: for `"annealed"`, the number of training epochs.
        mixed: whether a batch may hold rows of several tasks; if False, it holds rows of one.
        steps: number of batches per epoch; by default enough to hold every example once.
        shuffle: by default only for the split `"train"`. Without shuffling, every example appears once, whatever `sampling`.
        seed: seed of the order and of masking.
        buckets: number of padded lengths, chosen for the least padding; or the lengths themselves.
        max_length: maximum number of tokens of an example; by default the encoder's `max_length`.
        drop_remainder: whether to drop a last batch with fewer rows, which makes the number of rows static.
        cache_dir: folder for tokenized data; True for the user's cache folder, None or False for a temporary one.

    Returns:
        A `tf.data.Dataset` of known cardinality. Its attribute `mixture` is its `Mixture`.

    Raises:
        ValueError: if the encoder has no tokenizer, a task has no training split, or a setting is out of range.

    Example:

    >>> import mtl
    >>> moods = [{"text": text, "mood": mood} for text, mood in [("ab", "up"), ("b", "down")] * 4]
    >>> rows = mtl.data.records(moods, label="mood", fractions=None)
    >>> encoder = mtl.encoders.Recurrent(mtl.data.Tokenizer.learn("character", ["ab"]), embedding=4, units=4)
    >>> train = mtl.data.mix(mtl.Task("mood", mtl.heads.Classification(), rows), encoder, batch_size=4, cache_dir=None)
    >>> for x, y, sample_weight in train.take(1):
    ...     x["token_ids"].shape[0], sorted(y), sample_weight["mood"].numpy().tolist()
    (4, ['mood'], [1.0, 1.0, 1.0, 1.0])
    """
    listed: list[LabelledTask] = [tasks] if hasattr(tasks, "head") else list(tasks)
    if getattr(encoder, "tokenizer", None) is None:
        raise ValueError(
            "mix expects an encoder that has a tokenizer; this one has none. "
            "Build the encoder with one, such as mtl.data.Tokenizer.learn('word', texts)."
        )
    if sampling is None:
        tempered = temperature is not None or cap is not None
        sampling = "weights" if weights is not None else "temperature" if tempered else "proportional"
    _check_sampling(sampling, {"weights": weights, "temperature": temperature, "cap": cap, "epochs": epochs})
    shuffle = split == "train" if shuffle is None else shuffle
    for task in listed:
        task.prepare()
        if task.head.corrupts_inputs and not task.head.built:
            task.head.attach(encoder)  # The head changes the inputs of its rows, for which it needs the tokenizer.
    return Mixture(
        listed,
        encoder,
        split,
        batch_size=batch_size,
        sampling=sampling if shuffle else "proportional",
        weights=weights if shuffle else None,
        temperature=temperature if temperature is not None else 1.0,
        cap=cap,
        epochs=epochs,
        mixed=mixed,
        steps=steps,
        shuffle=shuffle,
        seed=seed,
        buckets=buckets,
        max_length=max_length if max_length is not None else encoder.max_length,
        drop_remainder=drop_remainder,
        cache_dir=cache_folder() if cache_dir is True else (cache_dir or None),
    ).dataset()


#: Settings of each sampling method.
_SETTINGS = {"weights": ("weights",), "temperature": ("temperature", "cap"), "annealed": ("epochs",)}


def _check_sampling(sampling: str, settings: Mapping[str, Any]) -> None:
    given = [name for name, value in settings.items() if value is not None]
    for name in given:
        if name not in _SETTINGS.get(sampling, ()):
            owner = next(method for method, names in _SETTINGS.items() if name in names)
            raise ValueError(f"{name} belongs to sampling='{owner}'; got it with sampling='{sampling}'. Leave one of them out.")
    if sampling == "temperature" and not given:
        raise ValueError("sampling='temperature' expects a temperature, a cap or both; got neither.")
