"""Several tasks' examples as one `tf.data.Dataset`."""

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from mtl.data.buckets import choose_buckets
from mtl.data.sampling import as_weights, counts, order, shares
from mtl.data.store import Store, prepare

__all__ = ["Mixture", "cache_folder", "mix"]


def cache_folder() -> Path:
    """Where prepared data is kept: `MTL_CACHE_DIR`, or `mtl` in the user's cache folder."""
    if folder := os.environ.get("MTL_CACHE_DIR"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mtl"


class _Group:
    """The rows that are labelled by the same tasks: the unit of sampling."""

    def __init__(self, tasks: tuple[str, ...]):
        self.tasks = tasks
        self.stores: list[int] = []
        self.rows: list[np.ndarray] = []

    def close(self) -> None:
        self.store_of = np.concatenate([np.full(len(r), s, np.int32) for s, r in zip(self.stores, self.rows, strict=True)])
        self.row_of = np.concatenate(self.rows)

    def __len__(self) -> int:
        return len(self.row_of)


class Mixture:
    """The plan behind the dataset that `mix` returns: which rows stand in which batch, as a function of seed and epoch.

    Attributes:
        buckets: the padded lengths in use.
        groups: the tasks of each group of rows; rows that the same tasks label are drawn alike.
        sizes: how many rows each group has.
        epoch: the number of the next pass over the dataset; set it to go on where an earlier run ended.
    """

    def __init__(
        self,
        tasks: Sequence[Any],
        encoder: Any,
        split: str,
        *,
        batch_size: int,
        sampling: str,
        weights: Mapping[str, float] | None,
        temperature: float,
        cap: int | None,
        epochs: int | None,
        mixed: bool,
        steps: int | None,
        shuffle: bool,
        seed: int,
        buckets: int | Sequence[int],
        max_length: int | None,
        drop_remainder: bool,
        cache_dir: str | os.PathLike | None,
    ):
        self.tasks, self.encoder, self.split = list(tasks), encoder, split
        self.batch_size, self.mixed, self.shuffle, self.seed = batch_size, mixed, shuffle, seed
        self.sampling, self.temperature, self.cap, self.epochs = sampling, temperature, cap, epochs
        self.drop_remainder = drop_remainder
        self.epoch = 0
        self._lock = threading.Lock()
        self._plans: dict[int, tuple[list[np.ndarray], list[np.ndarray], list[int]]] = {}
        self._read(max_length, cache_dir)
        self.sizes = [len(group) for group in self._groups]
        self.groups = [group.tasks for group in self._groups]
        self._weights = None if weights is None else as_weights([t.name for t in self.tasks], self.groups, weights)
        self._rows_per_epoch = sum(self.sizes) if steps is None else steps * batch_size
        if sampling == "annealed" and not epochs:
            raise ValueError("Annealed sampling expects epochs=, the number of passes over which the shares change.")
        self._counts_of(0)  # Settings that cannot be are found now, not at the first batch.
        lengths = np.concatenate([self._stores[s].lengths[r] for g in self._groups for s, r in zip(g.stores, g.rows, strict=True)])
        if isinstance(buckets, int):
            self.buckets = choose_buckets(lengths, buckets)
        else:
            self.buckets = sorted(set(int(b) for b in buckets))
            if not self.buckets or self.buckets[-1] < lengths.max():
                raise ValueError(
                    f"The longest bucket must hold the longest text: {int(lengths.max())} tokens; got buckets {self.buckets}. "
                    "Add a longer bucket or give max_length."
                )
        self.truncated = {store_name: store.truncated for store_name, store in zip(self._names, self._stores, strict=True)}

    def _read(self, max_length: int | None, cache_dir: str | os.PathLike | None) -> None:
        fed: dict[int, tuple[Any, list[Any]]] = {}
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
        self._names: list[str] = []
        groups: dict[tuple[str, ...], _Group] = {}
        for source, feeds in fed.values():
            store = prepare(source, self.split, feeds, self.encoder, max_length, cache_dir, words="word_mask" in self._features())
            index = len(self._stores)
            self._stores.append(store)
            self._names.append(source.name)
            together = tuple(task.name for task in feeds if not task.head.own_rows)
            for names in [together] * bool(together) + [(task.name,) for task in feeds if task.head.own_rows]:
                rows = np.flatnonzero(np.any([store.labelled(name) for name in names], axis=0))
                if len(rows):
                    group = groups.setdefault(names, _Group(names))
                    group.stores.append(index)
                    group.rows.append(rows)
        self._groups = list(groups.values())
        if not self._groups:
            raise ValueError(f"Split '{self.split}' holds no labelled example for the tasks {[t.name for t in self.tasks]}.")
        for group in self._groups:
            group.close()
        self._own = {task.name: task for task in self.tasks if task.head.own_rows}
        self._labelled_in = [{task.name for task in feeds} for _, feeds in fed.values()]

    # Which rows ---------------------------------------------------------------------------------------------------

    def _counts_of(self, epoch: int) -> np.ndarray:
        """How many rows of each group an epoch draws."""
        if self.sampling == "proportional" and self._rows_per_epoch == sum(self.sizes):
            return np.asarray(self.sizes)
        progress = epoch / max(1, (self.epochs or 1) - 1)
        share = shares(
            self.sizes, self.sampling, weights=self._weights, temperature=self.temperature, cap=self.cap, progress=progress
        )
        if self.mixed:
            return counts(share, self._rows_per_epoch)
        return counts(share, -(-self._rows_per_epoch // self.batch_size)) * self.batch_size

    def _plan(self, epoch: int) -> tuple[list[np.ndarray], list[np.ndarray], list[int]]:
        """The batches of an epoch: for each its rows' groups, their positions in the group, and its padded length."""
        with self._lock:
            if epoch not in self._plans:
                self._plans = {k: v for k, v in self._plans.items() if k >= epoch - 1}
                self._plans[epoch] = self._make_plan(epoch)
            return self._plans[epoch]

    def _make_plan(self, epoch: int) -> tuple[list[np.ndarray], list[np.ndarray], list[int]]:
        drawn = self._counts_of(epoch)
        before = sum((self._counts_of(e) for e in range(epoch)), np.zeros(len(drawn), np.int64)) if self.shuffle else 0 * drawn
        group_of, position_of = [], []
        for g, count in enumerate(drawn):
            group_of.append(np.full(count, g, np.int32))
            position_of.append(order(self.sizes[g], int(before[g]), int(count), [self.seed, g], self.shuffle))
        group, position = np.concatenate(group_of), np.concatenate(position_of)
        rng = np.random.default_rng([self.seed, 1 << 32, epoch])
        if self.shuffle:
            mixed = rng.permutation(len(group))
            group, position = group[mixed], position[mixed]
        length = np.zeros(len(group), np.int32)
        for g, each in enumerate(self._groups):
            mine = np.flatnonzero(group == g)
            for s in each.stores:
                chosen = mine[each.store_of[position[mine]] == s]
                length[chosen] = self._stores[s].lengths[each.row_of[position[chosen]]]
        bucket = np.searchsorted(self.buckets, np.maximum(length, 1))
        batches: list[tuple[np.ndarray, int]] = []
        for part in [np.arange(len(group))] if self.mixed else [np.flatnonzero(group == g) for g in range(len(drawn))]:
            carried = np.zeros(0, np.int64)
            for b in range(len(self.buckets)):
                rows = np.concatenate([carried, part[bucket[part] == b]])
                whole = len(rows) // self.batch_size * self.batch_size
                batches += [(rows[i : i + self.batch_size], b) for i in range(0, whole, self.batch_size)]
                carried = rows[whole:]
            if len(carried) and not self.drop_remainder:
                batches.append((carried, int(bucket[carried].max())))
        turn = rng.permutation(len(batches)) if self.shuffle else range(len(batches))
        chosen_batches = [batches[i] for i in turn]
        return (
            [group[rows] for rows, _ in chosen_batches],
            [position[rows] for rows, _ in chosen_batches],
            [self.buckets[b] for _, b in chosen_batches],
        )

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch."""
        return len(self._plan(0)[2])

    def realised(self, epoch: int = 0) -> dict[str, Any]:
        """What an epoch holds: rows and share of each group, and the share of tokens that are padding."""
        groups, positions, lengths = self._plan(epoch)
        drawn = np.bincount(np.concatenate(groups), minlength=len(self._groups)) if groups else np.zeros(len(self._groups), int)
        padded = sum(len(rows) * length for rows, length in zip(groups, lengths, strict=True))
        real = 0
        for g, each in enumerate(self._groups):
            at = np.concatenate([p[rows == g] for rows, p in zip(groups, positions, strict=True)])
            for s in each.stores:
                real += int(self._stores[s].lengths[each.row_of[at[each.store_of[at] == s]]].sum())
        return {
            "rows": {"+".join(names): int(n) for names, n in zip(self.groups, drawn, strict=True)},
            "shares": {"+".join(names): float(n / max(1, drawn.sum())) for names, n in zip(self.groups, drawn, strict=True)},
            "padding": 1.0 - real / max(1, padded),
        }

    # Batches ------------------------------------------------------------------------------------------------------

    def signature(self) -> tuple[dict[str, tf.TensorSpec], dict[str, tf.TensorSpec], dict[str, tf.TensorSpec]]:
        """What the batches look like."""
        rows = self.batch_size if self.drop_remainder else None
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
        if any(getattr(task.head, "needs_word_mask", False) for task in self.tasks):
            names.append("word_mask")
        return names

    def batch(self, epoch: int, step: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray]]:
        """One batch as NumPy arrays: `(x, y, sample_weight)`."""
        groups, positions, lengths = self._plan(epoch)
        group, position, length = groups[step], positions[step], lengths[step]
        size = len(group)
        features = self._features()
        x = {name: np.zeros((size, length), np.int32) for name in features}
        filler = {"token_ids": self.encoder.tokenizer.pad_id}
        y, w = {}, {}
        for task in self.tasks:
            target = task.head.target
            shape = (size, length) if target.per_token else (size, *target.shape)
            y[task.name] = np.zeros(shape, target.dtype)
            w[task.name] = np.zeros((size, length) if target.per_token else (size,), np.float32)
        for g in np.unique(group):
            each = self._groups[g]
            of_group = np.flatnonzero(group == g)
            for s in each.stores:
                at = of_group[each.store_of[position[of_group]] == s]
                if not len(at):
                    continue
                store, rows = self._stores[s], each.row_of[position[at]]
                x["padding_mask"][at] = np.arange(length) < store.lengths[rows][:, None]
                for name in features:
                    if name != "padding_mask":
                        x[name][at] = store.tokens(name, rows, length, filler.get(name, 0))
                for task in self.tasks:
                    if task.name in each.tasks:
                        self._labels(task, store, rows, at, length, y[task.name], w[task.name])
        for name, task in self._own.items():
            if w[name].any():
                rng = np.random.default_rng([self.seed, 1 << 33, epoch if self.shuffle else 0, step])
                task.head.prepare_batch(x, y[name], w[name], rng)
        return x, y, w

    @staticmethod
    def _labels(task: Any, store: Store, rows: np.ndarray, at: np.ndarray, length: int, y: np.ndarray, w: np.ndarray) -> None:
        if task.head.target.per_token:
            y[at] = store.tokens(f"y.{task.name}", rows, length)
            w[at] = store.tokens(f"w.{task.name}", rows, length)
        else:
            y[at] = store.fixed(f"y.{task.name}", rows).reshape(len(rows), *task.head.target.shape)
            w[at] = store.fixed(f"w.{task.name}", rows)

    def dataset(self) -> tf.data.Dataset:
        """The batches of an epoch, another epoch each time it is iterated."""
        signature = self.signature()
        flat = tf.nest.flatten(signature)

        def next_epoch() -> np.int64:
            with self._lock:
                epoch = self.epoch
                self.epoch += 1
            return np.int64(epoch)

        def numpy_batch(epoch: np.int64, step: np.int64) -> list[np.ndarray]:
            return tf.nest.flatten(self.batch(int(epoch), int(step)))

        def batch(epoch: tf.Tensor, step: tf.Tensor) -> Any:
            arrays = tf.numpy_function(numpy_batch, [epoch, step], [spec.dtype for spec in flat], stateful=False)
            for array, spec in zip(arrays, flat, strict=True):
                array.set_shape(spec.shape)
            return tf.nest.pack_sequence_as(signature, arrays)

        def passes(_: tf.Tensor) -> tf.data.Dataset:
            epoch = tf.numpy_function(next_epoch, [], tf.int64) if self.shuffle else tf.constant(0, tf.int64)
            return tf.data.Dataset.range(self.steps_per_epoch).map(lambda step: batch(epoch, step), 2, deterministic=True)

        dataset = tf.data.Dataset.range(1).flat_map(passes)
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(self.steps_per_epoch)).prefetch(4)
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
        dataset = dataset.with_options(options)
        dataset.mixture = self
        return dataset


def mix(
    tasks: Any,
    encoder: Any,
    split: str = "train",
    *,
    batch_size: int = 32,
    sampling: str | None = None,
    weights: Mapping[str, float] | None = None,
    temperature: float | None = None,
    cap: int | None = None,
    epochs: int | None = None,
    mixed: bool = True,
    steps: int | None = None,
    shuffle: bool | None = None,
    seed: int = 0,
    buckets: int | Sequence[int] = 8,
    max_length: int | None = None,
    drop_remainder: bool = False,
    cache_dir: str | os.PathLike | None | bool = True,
) -> tf.data.Dataset:
    """Several tasks' examples as one dataset of batches `(x, y, sample_weight)`.

    A batch holds rows of any task. `x` is one dict for all rows: `token_ids`, `padding_mask` (and `segment_ids`, `word_mask` where
    used), int32 `[B, S]`. `y` and `sample_weight` have an entry a task; a weight of 0 says that the row has no label for the
    task. Texts are tokenized and labels encoded once. Rows of like length share a batch. The whole order is a function of `seed`
    and the number of the epoch.

    Args:
        tasks: a task or several.
        encoder: an encoder that has a tokenizer.
        split: which split of the tasks' sources.
        batch_size: rows in a batch.
        sampling: how often each task is drawn in training: `"proportional"` (each example once an epoch), `"uniform"`, `"weights"`,
            `"temperature"` or `"annealed"`; see `mtl.data.sampling.shares`. Follows from `weights` or `temperature` where given.
        weights: task -> share of the draws, for `"weights"`.
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
        A `tf.data.Dataset` of known cardinality. Its attribute `mixture` is the plan behind it (a `Mixture`).

    Raises:
        ValueError: the encoder has no tokenizer, a task has no training split, a setting is out of its range.

    Example:

    >>> import mtl
    >>> rows = mtl.data.records([{"text": t, "mood": m} for t, m in [("ab", "up"), ("b", "down")] * 4], label="mood", fractions=None)
    >>> encoder = mtl.encoders.Recurrent(mtl.data.Tokenizer.learn("character", ["ab"]), embedding=4, units=4)
    >>> train = mtl.data.mix(mtl.Task("mood", mtl.heads.Classification(), rows), encoder, batch_size=4, cache_dir=None)
    >>> for x, y, sample_weight in train.take(1):
    ...     x["token_ids"].shape[0], sorted(y), sample_weight["mood"].numpy().tolist()
    (4, ['mood'], [1.0, 1.0, 1.0, 1.0])
    """
    tasks = [tasks] if hasattr(tasks, "head") else list(tasks)
    if getattr(encoder, "tokenizer", None) is None:
        raise ValueError(
            "mix expects an encoder that has a tokenizer; this one has none. "
            "Build the encoder with one, such as mtl.data.Tokenizer.learn('word', texts)."
        )
    if batch_size < 1:
        raise ValueError(f"A batch has at least 1 row; got batch_size={batch_size}.")
    if sampling is None:
        sampling = "weights" if weights is not None else "temperature" if temperature or cap else "proportional"
    shuffle = split == "train" if shuffle is None else shuffle
    for task in tasks:
        task.prepare()
        if task.head.own_rows and not task.head.built:
            task.head.attach(encoder)  # It changes its rows, for which it needs the tokenizer.
    return Mixture(
        tasks,
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
