"""One class out of several for each text."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from mtl.data.encoding import Encoding
from mtl.data.example import Example
from mtl.heads.head import Head, Target
from mtl.layers.ngram_linear import NGramLinear
from mtl.layers.readout import Readout
from mtl.losses.cross_entropy import class_distribution, cross_entropy, smoothed_weights
from mtl.metrics.confusion_matrix import ConfusionMatrix
from mtl.utils import unknown_name
from mtl.utils.arguments import checked
from mtl.utils.labels import Labels, label_text
from mtl.utils.rows import known_ids, labelled
from mtl.utils.types import Rate, Size, Weight

__all__ = ["Classification"]


@keras.saving.register_keras_serializable("mtl")
class Classification(Head):
    """One class out of several for each text or pair of texts: softmax and cross-entropy.

    Labels are compared as text, so that 3, 3.0 and "3" are one label, whether read from CSV or JSON.

    With class weights the loss is a weighted mean: a row of class `c` counts `w_c` times, both in the sum of losses and in the
    sum of weights that divides it. The metrics count every row once.

    Args:
        labels: the classes in the order of their ids; a number `n` for the classes `0 ... n - 1`; None to learn them from the
            training split, in sorted order (numbers by value).
        label_smoothing: the share of each target that is spread evenly over the classes.
        class_weights: label -> weight (default 1); a list of one weight per class; `"balanced"` for `n / (C n_c)`, where
            `n` is the weight of the training split's labelled examples, `n_c` of those of the class (1 for a class that never
            occurs) and `C` the number of classes; None for ones.
        focal: exponent of the focal loss, which down-weights rows that are already right; 0 for plain cross-entropy.
        dropout: the share of the features dropped in training.
        hidden: the width of a tanh layer before the classes; 0 for none.
        features: name of the `[B, H]` features that the head reads.
        unknown: `"raise"` for an error where a row's label is not among the labels, `"ignore"` to treat the row as not labelled.
            Such rows count neither in `evaluate` nor in `report`, which reports their number as `unknown`.
        ngrams: the arguments of a `mtl.layers.NGramLinear` that reads n-grams of tokens beside the features, or its `order`;
            0 for none. Useful where single phrases decide the class and labels are too few to train the encoder well.

    Returns:
        Logits, float32 `[B, C]`. `loss` takes class ids `[B]` or `[B, 1]`, or one-hot or soft classes `[B, C]`; `activate`
        returns probabilities; `decode` returns `label`, its `probability`, and the `probabilities` of all labels (of the five
        likeliest where there are more than 20).

    Raises:
        ValueError: an unknown label, or an argument out of its range.

    Example:

    >>> import numpy as np
    >>> head = Classification(["bad", "good"])
    >>> logits = head({"pooled": np.ones([3, 4], "float32")})
    >>> loss_sum, weight_sum = head.loss(np.array([1, 0, 0]), logits, np.array([1.0, 1.0, 0.0]), {})
    >>> tuple(logits.shape), float(weight_sum)
    ((3, 2), 2.0)
    """

    needs_offsets = False
    cache_key = ("labels", "unknown")
    not_labelled = -1

    @checked
    def __init__(
        self,
        labels: int | Iterable[Any] | None = None,
        *,
        label_smoothing: Rate = 0.0,
        class_weights: str | Mapping[Any, float] | Sequence[float] | None = None,
        focal: Weight = 0.0,
        dropout: Rate = 0.1,
        hidden: Size = 0,
        features: str = "pooled",
        unknown: str = "raise",
        ngrams: int | Mapping[str, Any] = 0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if unknown not in ("raise", "ignore"):
            raise unknown_name("way with unknown labels", unknown, ["raise", "ignore"])
        if isinstance(class_weights, str) and class_weights != "balanced":
            raise unknown_name("class weights", class_weights, ["balanced"])
        self.label_smoothing = label_smoothing
        self.class_weights = class_weights
        self.focal = focal
        self.dropout = dropout
        self.hidden = hidden
        self.features = features
        self.unknown = unknown
        self.ngrams = dict(ngrams) if isinstance(ngrams, Mapping) else ngrams
        self._labels: Labels | None = None
        self._weights: tuple[float, ...] | None = None
        if labels is not None:
            self._take(Labels(labels))

    @property
    def labels(self) -> tuple | None:
        """The classes in the order of their ids; None before they are known."""
        return None if self._labels is None else self._labels.names

    @property
    def ready(self) -> bool:
        return self._labels is not None and self.class_weights != "balanced"

    def learn(self, values: Iterable[Any], weights: Sequence[float] | None = None) -> None:
        values = list(values)
        labels = self._labels or Labels.learn(values)
        if self.class_weights == "balanced":
            totals = np.zeros(len(labels))
            for value, weight in zip(values, [1.0] * len(values) if weights is None else weights, strict=True):
                if self.unknown == "raise" or value in labels:
                    totals[labels.id(value)] += weight
            self.class_weights = [float(totals.sum() / (len(labels) * (total or 1.0))) for total in totals]
        self._take(labels)

    def _take(self, labels: Labels) -> None:
        if len(labels) < 2:
            raise ValueError(
                f"Classification needs at least two labels, got {list(labels.names)}; check the label's field, or pass labels."
            )
        self._labels = labels
        if self.class_weights is not None and not isinstance(self.class_weights, str):
            self._weights = labels.numbers("class_weights", self.class_weights)

    def _known(self) -> Labels:
        if self._labels is None or not self.ready:
            what = "labels" if self._labels is None else "class weights"
            raise ValueError(f"Head '{self.name}' does not know its {what} yet: pass `{what.replace(' ', '_')}`, or give its "
                             "task a source with a training split to learn them from.")  # fmt: skip
        return self._labels

    @property
    def target(self) -> Target:
        return Target((), "int32")

    def encode(self, value: Any, example: Example, encoding: Encoding) -> tuple[int, float]:
        labels = self._known()
        if self.unknown == "ignore" and value not in labels:
            return 0, 0.0
        return labels.id(value), 1.0

    def known(self, value: Any) -> tuple[Any, int]:
        return (value, 0) if self._labels is None or value in self._labels else (None, 1)

    def decode(self, prediction: np.ndarray, example: Example, encoding: Encoding) -> dict[str, Any]:
        labels = self._known()
        best = int(np.argmax(prediction))
        return {
            "label": labels.names[best],
            "probability": float(prediction[best]),
            "probabilities": labels.probabilities(prediction),
        }

    def report(
        self, gold: Sequence[Any], predicted: Sequence[Any], examples: Sequence[Example], *, per_class: bool = False
    ) -> dict[str, float]:
        """Return accuracy, macro and micro precision, recall and F1, and Matthews' correlation, by scikit-learn.

        Macro means are over the classes that occur in `gold` or `predicted`. Rows are weighted by their examples; those with a
        label unknown to training count only as `unknown`.

        Args:
            gold: labels.
            predicted: the results of `decode`.
            examples: the examples; empty for weights of 1.
            per_class: whether to add each class's F1 as `f1:LABEL`.
        """
        from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef, precision_recall_fscore_support

        rows, weights, unknown = self._judged(gold, predicted, examples)
        if not rows:
            return unknown
        truth, guess = [label_text(value) for value, _ in rows], [label_text(found["label"]) for _, found in rows]
        scores = {"accuracy": accuracy_score(truth, guess, sample_weight=weights)}
        for kind in ("macro", "micro"):
            precision, recall, f1, _ = precision_recall_fscore_support(
                truth, guess, average=kind, zero_division=0, sample_weight=weights
            )
            scores |= {f"{kind}_f1": f1, f"{kind}_precision": precision, f"{kind}_recall": recall}
        scores["mcc"] = matthews_corrcoef(truth, guess, sample_weight=weights) if len({*truth, *guess}) > 1 else 0.0
        if per_class:
            classes = sorted({*truth, *guess})
            f1s = f1_score(truth, guess, labels=classes, average=None, zero_division=0, sample_weight=weights)
            scores |= {f"f1:{name}": f1 for name, f1 in zip(classes, f1s, strict=True)}
        return {**{name: float(score) for name, score in scores.items()}, **unknown}

    def build(self, features_shape: Mapping[str, tuple]) -> None:
        labels = self._known()
        if self.features not in features_shape:
            raise unknown_name("features", self.features, features_shape)
        self.readout = Readout(len(labels), self.hidden, self.dropout, dtype=self.dtype_policy, name="readout")
        self.readout.build(features_shape[self.features])
        if self.ngrams:
            settings = self.ngrams if isinstance(self.ngrams, dict) else {"order": self.ngrams}
            self.phrases = NGramLinear(len(labels), **settings, name="ngrams")
            self.phrases.build()

    def call(self, features: Mapping[str, Any], training: bool | None = None) -> Any:
        logits = self.readout(features[self.features], training=training)
        if self.ngrams:
            logits += self.phrases(features["token_ids"], features["padding_mask"], training=training)
        return logits

    def compute_output_shape(self, features_shape: Mapping[str, tuple]) -> tuple:
        return (features_shape[self.features][0], len(self._known()))

    def compute_output_spec(self, features: Mapping[str, Any], training: bool | None = None) -> keras.KerasTensor:
        return self.readout.compute_output_spec(features[self.features])

    def activate(self, outputs: Any, features: Mapping[str, Any]) -> Any:
        return ops.softmax(ops.cast(outputs, "float32"), axis=-1)

    def serve(self, prediction: Any, tokens: Mapping[str, Any]) -> dict[str, Any]:
        """Return the likeliest `label [B]` (a string), its probability as `score [B]`, and all labels' as `scores [B, C]`."""
        label = tf.gather(self._known().texts, tf.argmax(prediction, axis=-1))
        return {"label": label, "score": tf.reduce_max(prediction, axis=-1), "scores": prediction}

    def loss(self, target: Any, outputs: Any, weight: Any, features: Mapping[str, Any]) -> tuple[Any, Any]:
        outputs = labelled(weight, outputs)
        target, classes = labelled(weight, target), outputs.shape[-1]
        if ops.ndim(target) < ops.ndim(outputs) or target.shape[-1] == 1:
            target = known_ids(ops.cast(target, "int32"), classes, f"head '{self.name}'")
        elif target.shape[-1] != classes:
            raise ValueError(
                f"Head '{self.name}' has {classes} classes; got targets of shape {tuple(target.shape)}. "
                f"Give class ids, [B], or one-hot targets, [B, {classes}]."
            )
        target = class_distribution(target, outputs)
        rows = cross_entropy(target, outputs, label_smoothing=self.label_smoothing, class_weights=self._weights, focal=self.focal)
        weight = ops.cast(weight, "float32")
        loss_sum = ops.sum(rows * weight)
        if self._weights is not None:
            weight *= ops.sum(target * smoothed_weights(self._weights, self.label_smoothing), axis=-1)
        return loss_sum, ops.sum(weight)

    def make_metrics(self) -> dict[str, Any]:
        return {"confusion": ConfusionMatrix(len(self._known()))}

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "labels": None if self.labels is None else list(self.labels),
            "label_smoothing": self.label_smoothing,
            "class_weights": self.class_weights,
            "focal": self.focal,
            "dropout": self.dropout,
            "hidden": self.hidden,
            "features": self.features,
            "unknown": self.unknown,
            "ngrams": self.ngrams,
        }
