"""Several tasks' examples as one `tf.data.Dataset`."""

import logging
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from mtl.data.mixture.batch_sampler import BatchSampler, Group
from mtl.data.mixture.protocols import LabelledTask, TextEncoder
from mtl.data.mixture.store import Store, prepare
from mtl.data.source import Source, fingerprint_of
from mtl.utils import expanded
from mtl.utils.arguments import checked
from mtl.utils.types import Count, Positive, Size, Weight

__all__ = ["Mixture", "cache_folder", "mix"]

logger = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Where prepared data is kept: `MTL_CACHE_DIR`, or `mtl` in the user's cache folder."""
    if folder := os.environ.get("MTL_CACHE_DIR"):
        return Path(folder)
    try:
        return expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "mtl"
    except FileNotFoundError as error:
        raise FileNotFoundError(
            "The user has no home folder to keep tokenized data in. Set MTL_CACHE_DIR to a folder."
        ) from error


class Mixture:
    """What stands behind the dataset that `mix` returns: the prepared examples, and the sampler of the batches.

    Args:
        tasks, encoder, split, max_length, cache_dir: as in `mix`.
        **settings: of `mtl.data.mixture.batch_sampler.BatchSampler`.

    Attributes:
        sampler: which rows stand in which batch.
        buckets: the padded lengths in use.
        groups: the tasks of each group of rows; rows that the same tasks label are drawn alike.
        sizes: how many rows each group has.
        truncated: source -> how many of its texts were cut.
        lost: task -> how many of its labels tokens cannot express (see `Head.lost`).
        unknown: task -> how many labels were left out because its head does not know them.
        epoch: the number of the next pass over the dataset; set it to go on where an earlier run ended.
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
        groups = self._read(max_length, cache_dir)
        self.sampler = BatchSampler(groups, [task.name for task in self.tasks], **settings)
        self.batch_size, self.shuffle, self.seed = self.sampler.batch_size, self.sampler.shuffle, self.sampler.seed
        self.buckets, self.sizes, self.groups = self.sampler.buckets, self.sampler.sizes, [group.tasks for group in groups]

    def _read(self, max_length: int | None, cache_dir: str | os.PathLike | None) -> list[Group]:
        """Prepares the sources that have the split; returns their rows by the tasks that label them."""
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
            store = prepare(source, self.split, feeds, self.encoder, max_length, cache_dir, self._masks())
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
        return [Group(names, each) for names, each in parts.items()]

    def losses(self) -> list[str]:
        """A sentence for each task some of whose labels tokens cannot express."""
        return [
            f"{count:,} labels of '{task}' in split '{self.split}' do not come back from their tokens: their words have none or "
            "were cut off, a token also covers what is not theirs, or they overlap a label that is kept."
            for task, count in self.lost.items()
            if count
        ]

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch."""
        return self.sampler.steps_per_epoch

    def realised(self, epoch: int = 0) -> dict[str, Any]:
        """What an epoch holds: rows and share of each group, and the share of tokens that are padding."""
        return self.sampler.realised(epoch)

    def signature(self) -> tuple[dict[str, tf.TensorSpec], dict[str, tf.TensorSpec], dict[str, tf.TensorSpec]]:
        """What the batches look like."""
        rows = self.batch_size if self.sampler.drop_remainder else None
        length = self.buckets[0] if len(self.buckets) == 1 else None
        x = {name: tf.TensorSpec((rows, length), tf.int32) for name in self._features()}
        y, w = {}, {}
        for task in self.tasks:
            target = task.head.target
            shape = (rows, length) if target.per_token else (rows, *target.shape)
            y[task.name] = tf.TensorSpec(shape, target.dtype)
            w[task.name] = tf.TensorSpec((rows, length) if target.per_token else (rows,), tf.float32)
        return x, y, w

    def _features(self) -> list[str]:
        names = ["token_ids", "padding_mask"]
        if self.encoder.uses_segments:
            names.append("segment_ids")
        return names + self._masks()

    def _masks(self) -> list[str]:
        return sorted({task.head.needs_mask for task in self.tasks if task.head.needs_mask})

    @property
    def made_of(self) -> str:
        """The rows and their order, in words that other data does not share."""
        rows, digest = sum(self.sizes), fingerprint_of([store.digest for store in self._stores], self.groups)[:8]
        order = f"shuffled with the seed {self.seed}" if self.shuffle else "in order"
        return f"of {rows} rows ({digest}), {self.batch_size} in a batch, {order}"

    def batch(self, epoch: int, step: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray]]:
        """One batch as NumPy arrays: `(x, y, sample_weight)`."""
        groups, positions, length = self.sampler.of(epoch)[step]
        size = len(groups)
        features = self._features()
        x = {name: np.zeros((size, length), np.int32) for name in features}
        filler = {"token_ids": self.encoder.tokenizer.pad_id}
        y, w = {}, {}
        for task in self.tasks:
            target = task.head.target
            shape = (size, length) if target.per_token else (size, *target.shape)
            y[task.name] = np.zeros(shape, target.dtype)
            w[task.name] = np.zeros((size, length) if target.per_token else (size,), np.float32)
        for g in np.unique(groups):
            group, of_group = self.sampler.groups[g], np.flatnonzero(groups == g)
            for number, chosen, rows in group.by_store(positions[of_group]):
                store, at = self._stores[number], of_group[chosen]
                x["padding_mask"][at] = np.arange(length) < store.lengths[rows][:, None]
                for name in features:
                    if name != "padding_mask":
                        x[name][at] = store.tokens(name, rows, length, filler.get(name, 0))
                for task in self.tasks:
                    if task.name in group.tasks:
                        _labels(task, store, rows, at, length, y[task.name], w[task.name])
        for task in self.tasks:
            if task.head.corrupts_inputs and w[task.name].any():
                rng = np.random.default_rng([self.seed, 1 << 33, epoch if self.shuffle else 0, step])
                task.head.prepare_batch(x, y[task.name], w[task.name], rng)
        return x, y, w

    def dataset(self) -> tf.data.Dataset:
        """The batches of an epoch, another epoch each time it is iterated."""

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
        """The batches of one epoch from a step on, without making those before; the next epoch then is the one after it."""
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


def _labels(
    task: LabelledTask, store: Store, rows: np.ndarray, at: np.ndarray, length: int, y: np.ndarray, w: np.ndarray
) -> None:
    """Writes a task's targets and weights of some rows of a store into a batch."""
    if task.head.target.per_token:
        y[at] = store.tokens(f"y.{task.name}", rows, length)
        w[at] = store.tokens(f"w.{task.name}", rows, length)
    else:
        y[at] = store.fixed(f"y.{task.name}", rows).reshape(len(rows), *task.head.target.shape)
        w[at] = store.fixed(f"w.{task.name}", rows)


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
    """Several tasks' examples as one dataset of batches `(x, y, sample_weight)`.

    A batch holds rows of any task. `x` is one dict for all rows: `token_ids`, `padding_mask` (and `segment_ids`, `word_mask`
    where used), int32 `[B, S]`. `y` and `sample_weight` have an entry a task; a weight of 0 says that the row has no label for
    the task. Texts are tokenized and labels encoded once. Rows of like length share a batch. The whole order is a function of
    `seed` and the number of the epoch.

    Args:
        tasks: a task or several.
        encoder: an encoder that has a tokenizer.
        split: which split of the tasks' sources.
        batch_size: rows in a batch.
        sampling: how often each task is drawn in training: `"proportional"` (each example once an epoch), `"uniform"`,
            `"weights"`, `"temperature"` or `"annealed"`; see `mtl.data.mixture.sampling.shares`. Follows from `weights` or
            `temperature` where given.
        weights: task -> weight in the draws, for `"weights"`; tasks that label the same rows add up.
        temperature: for `"temperature"`; 1 is proportional, larger is more even.
        cap: for `"temperature"`, the size beyond which a task counts no more.
        epochs: for `"annealed"`, the number of epochs in the training.
        mixed: whether a batch holds rows of several tasks, or of one.
        steps: batches in an epoch; by default as many as hold every example once.
        shuffle: by default only for the split `"train"`. Without shuffling every example comes once, whatever `sampling`.
        seed: of order and masking.
        buckets: how many padded lengths are in use, chosen to leave the least padding; or the lengths.
        max_length: tokens kept of an example; by default the encoder's `max_length`.
        drop_remainder: whether a last batch with fewer rows is left out; it makes the number of rows static.
        cache_dir: a folder for tokenized data; True for the user's cache folder, None or False for a temporary one.

    Returns:
        A `tf.data.Dataset` of known cardinality. Its attribute `mixture` is the `Mixture` behind it.

    Raises:
        ValueError: the encoder has no tokenizer, a task has no training split, a setting is out of its range.

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
            task.head.attach(encoder)  # It changes its rows, for which it needs the tokenizer.
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


#: Which settings belong to which sampling.
_SETTINGS = {"weights": ("weights",), "temperature": ("temperature", "cap"), "annealed": ("epochs",)}


def _check_sampling(sampling: str, settings: Mapping[str, Any]) -> None:
    given = [name for name, value in settings.items() if value is not None]
    for name in given:
        if name not in _SETTINGS.get(sampling, ()):
            owner = next(method for method, names in _SETTINGS.items() if name in names)
            raise ValueError(f"{name} belongs to sampling='{owner}'; got it with sampling='{sampling}'. Leave one of them out.")
    if sampling == "temperature" and not given:
        raise ValueError("sampling='temperature' expects a temperature, a cap or both; got neither.")
