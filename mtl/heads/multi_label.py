"""Any number of labels for each text."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from mtl.data.encoding import Encoding
from mtl.data.example import Example
from mtl.heads.head import Head, Target
from mtl.layers.readout import Readout
from mtl.losses.binary import binary_cross_entropy
from mtl.metrics.label_counts import LabelCounts
from mtl.metrics.subset_accuracy import SubsetAccuracy
from mtl.utils import brief, unknown_name
from mtl.utils.arguments import checked
from mtl.utils.labels import Labels, label_text
from mtl.utils.rows import by_class, labelled
from mtl.utils.types import Between, Rate, Size, Weight

__all__ = ["MultiLabel"]

#: Entries of a multi-hot list -> their values.
_BITS = {"0": 0.0, "1": 1.0, "False": 0.0, "True": 1.0, "false": 0.0, "true": 1.0}

_CHOICE = " Give the head multi_hot=True if this is one 0 or 1 for each label, False if these are names."


@keras.saving.register_keras_serializable("mtl")
class MultiLabel(Head):
    """Any number of labels for each text or pair of texts: sigmoids and binary cross-entropy, averaged over the labels.

    A source yields each example's labels as a list of different names, or as one string with a separator; an empty list or
    string means that no label applies. With `multi_hot` it yields one entry per label: 1, 0, or None for not known. A mapping
    from labels to 1, 0 or None does the same; labels absent from it are not known. Labels are compared as text, so that 3, 3.0
    and "3" are one label.

    Arrays given to `fit` are multi-hot, with NaN or `missing` (-1) where a label is not known; their weights are `[B]`, or
    `[B, C]` for one weight per label. The loss is the mean over all labels that are known.

    Args:
        labels: the labels in the order of their ids; a number `n` for the labels `0 ... n - 1`; None to learn them from the
            training split, in sorted order (numbers by value).
        threshold: a label is predicted where its probability is this or more.
        pos_weights: label -> factor of the label's positive examples in its loss (default 1), or a list of one factor per
            label; None for ones. They do not change the sum of weights that divides the loss.
        label_smoothing: `s` in the smoothed target `(1 - s) target + s / 2`.
        focal: exponent of the focal loss, which down-weights labels that are already right; 0 for plain cross-entropy.
        unknown: `"raise"` for an error where a row's label is not among the labels, `"ignore"` to leave that label out. Such
            labels count neither in `evaluate` nor in `report`, which reports their number as `unknown`.
        separator: the string between labels where a source yields them as one string.
        multi_hot: whether a source yields one 0 or 1 per label, in the order of the labels, rather than names. None for names,
            with an error where a value may be either.
        dropout: the share of the features dropped in training.
        hidden: the width of a tanh layer before the labels; 0 for none.
        features: name of the `[B, H]` features that the head reads.

    Returns:
        Logits, float32 `[B, C]`. `activate` returns probabilities; `decode` returns the predicted `labels` and the
        `probabilities` of all labels (of the five likeliest where there are more than 20).

    Raises:
        ValueError: an unknown label, or an argument out of its range.

    Example:

    >>> head = MultiLabel(["rain", "snow", "wind"])
    >>> head.encode("wind|rain", None, None)[0].tolist()
    [1.0, 0.0, 1.0]
    >>> head.encode({"rain": 1, "snow": 0}, None, None)[0].tolist()
    [1.0, 0.0, nan]
    """

    progress = "micro_f1"
    needs_offsets = False
    cache_key = ("labels", "unknown", "separator", "multi_hot")
    not_labelled = -1

    @checked
    def __init__(
        self,
        labels: int | Iterable[Any] | None = None,
        *,
        threshold: Between = 0.5,
        pos_weights: Mapping[Any, float] | Sequence[float] | None = None,
        label_smoothing: Rate = 0.0,
        focal: Weight = 0.0,
        unknown: str = "raise",
        separator: str = "|",
        multi_hot: bool | None = None,
        dropout: Rate = 0.1,
        hidden: Size = 0,
        features: str = "pooled",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if unknown not in ("raise", "ignore"):
            raise unknown_name("way with unknown labels", unknown, ["raise", "ignore"])
        self.threshold = threshold
        self.pos_weights = pos_weights
        self.label_smoothing = label_smoothing
        self.focal = focal
        self.unknown = unknown
        self.multi_hot = multi_hot
        self.separator = separator
        self.dropout = dropout
        self.hidden = hidden
        self.features = features
        self._labels: Labels | None = None
        self._weights: tuple[float, ...] | None = None
        if labels is not None:
            self._take(Labels(labels))

    @property
    def labels(self) -> tuple | None:
        """The labels in the order of their ids; None before they are known."""
        return None if self._labels is None else self._labels.names

    @property
    def ready(self) -> bool:
        return self._labels is not None

    def learn(self, values: Iterable[Any], weights: Sequence[float] | None = None) -> None:
        if not self.multi_hot:
            names: dict[Any, None] = {}
            widths: set[int | None] = set()  # Lengths of values that may be multi-hot; None for others.
            example: Any = None
            for example in values:
                said = self._said(example)
                names.update(dict.fromkeys(said))
                widths.add(None if isinstance(example, Mapping) or not all(map(self._is_bit, said)) else len(said))
            if self.multi_hot is None and len(widths) == 1 and not widths & {None, 0}:
                raise self._ambiguous(example)
            self._take(Labels.learn(names))
            return
        values = iter(values)
        first = next(values, ())
        self._take(self._labels or (Labels(first) if isinstance(first, Mapping) else Labels(len(self._parts(first)))))
        for value in (first, *values):
            self._said(value)

    def _take(self, labels: Labels) -> None:
        self._labels = labels
        self._weights = None if self.pos_weights is None else labels.numbers("pos_weights", self.pos_weights)

    def _known(self) -> Labels:
        if self._labels is None:
            raise ValueError(f"Head '{self.name}' does not know its labels yet: pass `labels`, or give its task a source with "
                             "a training split to learn them from.")  # fmt: skip
        return self._labels

    def _parts(self, value: Any) -> list[Any]:
        if isinstance(value, str):
            return [part for text in value.split(self.separator) if (part := text.strip())]
        if not isinstance(value, (list, tuple, set, frozenset)):
            raise ValueError(
                f"MultiLabel takes a list of labels, a mapping from label to 1, 0 or None, or one string with '{self.separator}' "
                f"between; got {brief(value)}."
            )
        return list(value)

    def names_of(self, value: Any) -> list[Any]:
        """Return the labels that a value names or marks with 1."""
        return [name for name, truth in self._said(value).items() if truth == 1]

    def _said(self, value: Any) -> dict[Any, float]:
        """Return label -> 1, 0, or NaN for not known, for the labels that a value mentions.

        Raises:
            ValueError: the value has another form, names a label twice, or could be either names or multi-hot.
        """
        if isinstance(value, Mapping):
            said = {name: self._truth(entry) for name, entry in value.items()}
            if None in said.values():
                raise ValueError(
                    f"MultiLabel takes a mapping from label to 1, 0, or None for what is not known; got {brief(value)}."
                )
            return said  # type: ignore[return-value]
        parts = self._parts(value)
        truths = [self._truth(part) for part in parts]
        bits = bool(parts) and None not in truths
        if self.multi_hot:
            names = range(len(parts)) if self._labels is None else self._labels.names
            if len(parts) != len(names) or not bits:
                raise ValueError(
                    f"MultiLabel with multi_hot=True takes one 0 or 1 for each of {len(names)} labels; got {brief(value)}. "
                    "Give None for what is not known."
                )
            return dict(zip(names, truths, strict=True))  # type: ignore[arg-type]
        choice = _CHOICE if bits else ""
        if any(part is None or part != part for part in parts):
            raise ValueError(f"MultiLabel takes a list of names of labels; got {brief(value)}.{choice}")
        if self.multi_hot is None and any(isinstance(part, float) and 0 < part < 1 for part in parts):
            raise ValueError(
                f"MultiLabel takes a list of names of labels; got {brief(value)}, which may be probabilities. "
                "Give 0 and 1 and multi_hot=True if they are, multi_hot=False if these are names."
            )
        texts = [label_text(part) for part in parts]
        if len(set(texts)) < len(texts):
            twice = next(text for i, text in enumerate(texts) if text in texts[:i])
            raise ValueError(f"MultiLabel takes a list of different labels; got {brief(value)} with '{twice}' repeated.{choice}")
        if self.multi_hot is None and bits and self._labels is not None and len(texts) == len(self._labels):
            raise self._ambiguous(value)
        return dict.fromkeys(parts, 1.0)

    def _is_bit(self, part: Any) -> bool:
        return self._truth(part) is not None

    def _ambiguous(self, value: Any) -> ValueError:
        return ValueError(f"MultiLabel takes a list of labels; got {brief(value)}, which may be multi-hot.{_CHOICE}")

    def _truth(self, entry: Any) -> float | None:
        """Return 1 or 0; NaN for an entry that means not known; None for anything else."""
        if entry is None or entry != entry or entry == "":
            return math.nan
        text = label_text(entry)
        return _BITS.get(text, math.nan if self.missing is not None and text == label_text(self.missing) else None)

    def _target(self, value: Any) -> np.ndarray:
        """Return the target, float32 `[C]`: NaN for labels that are absent from a mapping, 0 for those absent from a list."""
        labels, said = self._known(), self._said(value)
        target = np.full(len(labels), math.nan if isinstance(value, Mapping) else 0.0, np.float32)
        for name, entry in said.items():
            if self.unknown == "raise" or name in labels:
                target[labels.id(name)] = entry
        return target

    def known(self, value: Any) -> tuple[Any, int]:
        labels, said = self._known(), self._said(value)
        others = sum(name not in labels for name in said)
        if others and isinstance(value, Mapping):
            value = {name: entry for name, entry in said.items() if name in labels}
        elif others:
            value = [name for name in said if name in labels]
        return (None if np.isnan(self._target(value)).all() else value), others

    @property
    def target(self) -> Target:
        return Target((len(self._known()),), "float32")

    def encode(self, value: Any, example: Example, encoding: Encoding) -> tuple[np.ndarray, float]:
        target = self._target(value)
        return target, float(not np.isnan(target).all())

    def decode(self, prediction: np.ndarray, example: Example, encoding: Encoding) -> dict[str, Any]:
        labels = self._known()
        return {
            "labels": [labels.names[i] for i in np.flatnonzero(prediction >= self.threshold)],
            "probabilities": labels.probabilities(prediction),
        }

    def report(
        self, gold: Sequence[Any], predicted: Sequence[Any], examples: Sequence[Example], *, per_class: bool = False
    ) -> dict[str, float]:
        """Return subset accuracy, and macro and micro precision, recall and F1, over the labels that are known for each row.

        Macro means are over the labels that are known for some row. Rows are weighted by their examples; labels unknown to
        training count only as `unknown`.

        Args:
            gold: labels.
            predicted: the results of `decode`.
            examples: the examples; empty for weights of 1.
            per_class: whether to add each label's F1 as `f1:LABEL`.
        """
        labels = self._known()
        rows, weights, unknown = self._judged(gold, predicted, examples)
        if not rows:
            return unknown
        target = np.stack([self._target(value) for value, _ in rows])
        guess = np.array(
            [[name in held for name in labels.texts] for held in ({*map(label_text, found["labels"])} for _, found in rows)]
        )
        # The same metrics as in the graph, which take logits.
        counts, subset = LabelCounts(len(labels)), SubsetAccuracy()
        for metric in (counts, subset):
            metric.update_state(target, np.where(guess, 1.0, -1.0), weights, {})
        scores = {"subset_accuracy": subset.result(), **counts.result()}
        if per_class:
            right, extra, missed, others = ops.convert_to_numpy(counts.total).T
            f1s = 2 * right / np.maximum(2 * right + extra + missed, 1e-300)
            scores |= {
                f"f1:{name}": f1
                for name, f1, seen in zip(labels.texts, f1s, right + extra + missed + others, strict=True)
                if seen
            }
        return {**{name: float(score) for name, score in scores.items()}, **unknown}

    def build(self, features_shape: Mapping[str, tuple]) -> None:
        labels = self._known()
        if self.features not in features_shape:
            raise unknown_name("features", self.features, features_shape)
        self.readout = Readout(len(labels), self.hidden, self.dropout, dtype=self.dtype_policy, name="readout")
        self.readout.build(features_shape[self.features])

    def call(self, features: Mapping[str, Any], training: bool | None = None) -> Any:
        return self.readout(features[self.features], training=training)

    def compute_output_shape(self, features_shape: Mapping[str, tuple]) -> tuple:
        return (features_shape[self.features][0], len(self._known()))

    def compute_output_spec(self, features: Mapping[str, Any], training: bool | None = None) -> keras.KerasTensor:
        return self.readout.compute_output_spec(features[self.features])

    def activate(self, outputs: Any, features: Mapping[str, Any]) -> Any:
        return ops.sigmoid(ops.cast(outputs, "float32"))

    def serve(self, prediction: Any, tokens: Mapping[str, Any]) -> dict[str, Any]:
        """Return the predicted `labels`, 1 or 0, int32 `[B, C]`, and their probabilities as `scores [B, C]`."""
        return {"labels": tf.cast(prediction >= self.threshold, tf.int32), "scores": prediction}

    def given(self, target: Any, weight: Any) -> Any:
        """Return the weight of each label of each row, float32 `[B, C]`: 0 where it is not known."""
        return by_class(target, weight, self.missing)

    def loss(self, target: Any, outputs: Any, weight: Any, features: Mapping[str, Any]) -> tuple[Any, Any]:
        weight = self.given(target, weight)
        rows = binary_cross_entropy(
            labelled(weight, target),
            labelled(weight, outputs),
            label_smoothing=self.label_smoothing,
            pos_weights=self._weights,
            focal=self.focal,
            weights=weight,
        )
        weight = ops.mean(weight, axis=-1)  # A row counts in proportion to its known labels.
        return ops.sum(rows * weight), ops.sum(weight)

    def make_metrics(self) -> dict[str, Any]:
        return {"counts": LabelCounts(len(self._known()), self.threshold), "subset_accuracy": SubsetAccuracy(self.threshold)}

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "labels": None if self.labels is None else list(self.labels),
            "threshold": self.threshold,
            "pos_weights": self.pos_weights,
            "label_smoothing": self.label_smoothing,
            "focal": self.focal,
            "multi_hot": self.multi_hot,
            "unknown": self.unknown,
            "separator": self.separator,
            "dropout": self.dropout,
            "hidden": self.hidden,
            "features": self.features,
        }
