"""Any number of labels for each text."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from mtl.data.encoding import Encoding
from mtl.data.example import Example, weights_of
from mtl.heads.head import Head, Target
from mtl.layers.readout import Readout
from mtl.losses.binary import binary_cross_entropy
from mtl.metrics.label_counts import LabelCounts
from mtl.metrics.subset_accuracy import SubsetAccuracy
from mtl.utils import unknown_name
from mtl.utils.labels import Labels, label_text
from mtl.utils.rows import labelled

__all__ = ["MultiLabel"]

#: What a multi-hot list holds.
_BITS = {"0": False, "1": True, "False": False, "True": True}


@keras.saving.register_keras_serializable("mtl")
class MultiLabel(Head):
    """Any number of labels for each text or pair of texts: sigmoids and binary cross-entropy, averaged over the labels.

    A source gives each example's labels as a list of different names, or as one string with a separator; an empty list or string
    says that none holds. With `multi_hot` it gives one 0 or 1 for each label. Labels are compared as text, so that 3, 3.0 and "3"
    are one label. Arrays given to `fit` are multi-hot.

    Args:
        labels: the labels in the order of their ids; a number `n` for the labels `0 ... n - 1`; None to learn them from the
            training split, in sorted order (numbers by value).
        threshold: a label is predicted where its probability is this or more.
        pos_weights: label -> what the label's positive examples count in its loss (1 for a label left out), or one number a
            label; None for ones. They do not change what the loss is divided by.
        label_smoothing: how far targets are drawn to 1/2.
        focal: the exponent that makes light of what is already right; 0 for plain cross-entropy.
        unknown: `"raise"` for an error where a row's label is none of the labels, `"ignore"` to leave that label out.
        separator: what stands between labels where a source gives them as one string.
        multi_hot: whether a source gives one 0 or 1 for each label, in the order of the labels, rather than names. None: names,
            and an error where a value may be either.
        dropout: the share of the features dropped in training.
        hidden: the width of a tanh layer before the labels; 0 for none.
        features: which `[B, H]` features it reads.

    Returns:
        Logits, float32 `[B, C]`. `activate` gives probabilities; `decode` gives the predicted `labels` and the `probabilities`
        of all labels (of the five likeliest where there are more than 20).

    Raises:
        ValueError: a label that is not known, or an argument out of its range.

    Example:

    >>> head = MultiLabel(["rain", "snow", "wind"])
    >>> head.encode("wind|rain", None, None)[0].tolist()
    [1.0, 0.0, 1.0]
    """

    progress = "micro_f1"
    needs_offsets = False
    cache_key = ("labels", "unknown", "separator", "multi_hot")

    def __init__(
        self,
        labels: int | Iterable[Any] | None = None,
        *,
        threshold: float = 0.5,
        pos_weights: Mapping[Any, float] | Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        focal: float = 0.0,
        unknown: str = "raise",
        separator: str = "|",
        multi_hot: bool | None = None,
        dropout: float = 0.1,
        hidden: int = 0,
        features: str = "pooled",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if unknown not in ("raise", "ignore"):
            raise unknown_name("way with unknown labels", unknown, ["raise", "ignore"])
        if not 0 < threshold < 1:
            raise ValueError(f"`threshold` is between 0 and 1, got {threshold}.")
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"`label_smoothing` is from 0 to below 1, got {label_smoothing}.")
        if focal < 0:
            raise ValueError(f"`focal` is 0 or more, got {focal}.")
        self.threshold = threshold
        self.pos_weights = pos_weights
        self.label_smoothing = label_smoothing
        self.focal = focal
        self.unknown = unknown
        self.separator = separator
        self.multi_hot = multi_hot
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

    def learn(self, values: Iterable[Any]) -> None:
        if not self.multi_hot:
            self._take(Labels.learn(name for value in values for name in self.names_of(value)))
            return
        values = iter(values)
        first = next(values, ())
        self._take(self._labels or Labels(len(self._parts(first))))
        for value in (first, *values):
            self.names_of(value)

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
            raise ValueError(f"MultiLabel takes a list of labels, or one string with '{self.separator}' between, got {value!r}.")
        return list(value)

    def names_of(self, value: Any) -> list[Any]:
        """The labels that a value names, or marks with 1."""
        parts = self._parts(value)
        texts = [label_text(part) for part in parts]
        bits = bool(texts) and all(text in _BITS for text in texts)
        if self.multi_hot:
            names = range(len(texts)) if self._labels is None else self._labels.names
            if len(texts) != len(names) or not bits:
                raise ValueError(
                    f"MultiLabel with multi_hot=True takes one 0 or 1 for each of {len(names)} labels; got {value!r}."
                )
            return [name for name, text in zip(names, texts, strict=True) if _BITS[text]]
        choice = " Give the head multi_hot=True if this is one 0 or 1 for each label, False if these are names." if bits else ""
        if len(set(texts)) < len(texts):
            twice = next(text for i, text in enumerate(texts) if text in texts[:i])
            raise ValueError(f"MultiLabel takes a list of different labels; got {value!r} with '{twice}' repeated.{choice}")
        if bits and self.multi_hot is None and self._labels is not None and len(texts) == len(self._labels):
            raise ValueError(f"MultiLabel takes a list of labels; got {value!r}, which may be multi-hot.{choice}")
        return parts

    def _marked(self, names: Iterable[Any]) -> np.ndarray:
        """Float32 `[C]`: 1 at some labels, 0 elsewhere."""
        labels = self._known()
        target = np.zeros(len(labels), np.float32)
        target[[labels.id(name) for name in names if self.unknown == "raise" or name in labels]] = 1.0
        return target

    @property
    def target(self) -> Target:
        return Target((len(self._known()),), "float32")

    def encode(self, value: Any, example: Example, encoding: Encoding) -> tuple[np.ndarray, float]:
        return self._marked(self.names_of(value)), 1.0

    def decode(self, prediction: np.ndarray, example: Example, encoding: Encoding) -> dict[str, Any]:
        labels = self._known()
        return {
            "labels": [labels.names[i] for i in np.flatnonzero(prediction >= self.threshold)],
            "probabilities": labels.probabilities(prediction),
        }

    def report(
        self, gold: Sequence[Any], predicted: Sequence[Any], examples: Sequence[Example], *, per_class: bool = False
    ) -> dict[str, float]:
        """Subset accuracy, and macro and micro precision, recall and F1, by scikit-learn.

        Args:
            gold: labels.
            predicted: what `decode` gave.
            examples: the examples, for their weights.
            per_class: whether to add each label's F1 as `f1:LABEL`.
        """
        from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

        labels = self._known()
        names = [[label_text(name) for name in self.names_of(value)] for value in gold]
        # A label that training never held can only be missed.
        unseen = sorted({name for each in names for name in each} - {*labels.texts}) if self.unknown == "raise" else []
        classes = [*labels.texts, *unseen]
        truth = np.array([[each in held for each in classes] for held in names])
        guess = np.zeros_like(truth)
        guess[:, : len(labels)] = np.stack([self._marked(value["labels"]) for value in predicted])
        weighted = {"sample_weight": weights_of(examples)}
        scores = {"subset_accuracy": accuracy_score(truth, guess, **weighted)}
        for kind in ("macro", "micro"):
            precision, recall, f1, _ = precision_recall_fscore_support(truth, guess, average=kind, zero_division=0, **weighted)
            scores |= {f"{kind}_f1": f1, f"{kind}_precision": precision, f"{kind}_recall": recall}
        if per_class:
            f1s = f1_score(truth, guess, average=None, zero_division=0, **weighted)
            scores |= {f"f1:{name}": f1 for name, f1 in zip(classes, f1s, strict=True)}
        return {name: float(score) for name, score in scores.items()}

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
        """Which `labels` are predicted, 1 or 0, int32 `[B, C]`, and the labels' probabilities as `scores [B, C]`."""
        return {"labels": tf.cast(prediction >= self.threshold, tf.int32), "scores": prediction}

    def loss(self, target: Any, outputs: Any, weight: Any, features: Mapping[str, Any]) -> tuple[Any, Any]:
        rows = binary_cross_entropy(
            labelled(weight, target),
            labelled(weight, outputs),
            label_smoothing=self.label_smoothing,
            pos_weights=self._weights,
            focal=self.focal,
        )
        weight = ops.cast(weight, "float32")
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
            "unknown": self.unknown,
            "separator": self.separator,
            "multi_hot": self.multi_hot,
            "dropout": self.dropout,
            "hidden": self.hidden,
            "features": self.features,
        }
