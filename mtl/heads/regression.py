"""One number for each text."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mtl.data.encoding import Encoding
from mtl.data.example import Example
from mtl.heads.head import Head, Target
from mtl.layers.readout import Readout
from mtl.losses.regression import absolute_error, huber, squared_error
from mtl.metrics.regression_scores import RegressionScores
from mtl.utils import brief, unknown_name
from mtl.utils.arguments import checked
from mtl.utils.rows import labelled
from mtl.utils.types import Finite, Positive, Rate, Size

__all__ = ["Regression"]

LOSSES = {"mse": squared_error, "mae": absolute_error, "huber": huber}


#: Largest float32, the dtype in which labels are stored.
LARGEST = float(np.finfo(np.float32).max)


@keras.saving.register_keras_serializable("mtl")
class Regression(Head):
    """One number for each text or pair of texts.

    The head predicts the standardised label `(label - mean) / scale`, and the loss is computed on it, so that tasks with small
    and large numbers have losses of like size. Labels, predictions and metrics are in the unit of the labels.

    Args:
        loss: `"mse"`, `"mae"` or `"huber"` (linear beyond an error of one `scale`).
        mean: the labels' mean; None to learn it from the training split, where examples are weighted.
        scale: the labels' standard deviation; None to learn it likewise (1 where all labels are equal). Use `mean=0.0,
            scale=1.0` for labels that need no standardising and for plain arrays.
        range: `(low, high)` to which predictions are clipped; a label outside is an error. None for no limits.
        dropout: the share of the features dropped in training.
        hidden: the width of a tanh layer before the number; 0 for none.
        features: name of the `[B, H]` features that the head reads.

    Returns:
        Standardised numbers, float32 `[B]`. `loss` takes labels `[B]` or `[B, 1]`; `activate` returns numbers in the
        labels' unit; `decode` returns the `value`.

    Raises:
        ValueError: a label that is not a finite number or is out of range, or an argument out of its range.

    Example:

    >>> head = Regression()
    >>> head.learn(["1.0", 3, 5])
    >>> head.mean, round(head.scale, 3)
    (3.0, 1.633)
    """

    learned = "mean=0.0, scale=1.0"
    needs_offsets = False
    cache_key = ("range",)

    progress = "pearson"

    @checked
    def __init__(
        self,
        *,
        loss: str = "mse",
        mean: Finite | None = None,
        scale: Positive | None = None,
        range: Sequence[float] | None = None,
        dropout: Rate = 0.1,
        hidden: Size = 0,
        features: str = "pooled",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if loss not in LOSSES:
            raise unknown_name("regression loss", loss, LOSSES)
        if range is not None and not (len(range) == 2 and range[0] < range[1]):
            raise ValueError(f"`range` is (low, high) with low below high, got {tuple(range)}.")
        self.loss_name = loss
        self.mean = mean
        self.scale = scale
        self.range = None if range is None else tuple(range)
        self.dropout = dropout
        self.hidden = hidden
        self.features = features

    @property
    def ready(self) -> bool:
        return self.mean is not None and self.scale is not None

    def learn(self, values: Iterable[Any], weights: Sequence[float] | None = None) -> None:
        numbers = np.array([self._number(value) for value in values], np.float64)
        if not numbers.size:
            raise ValueError("Regression needs labels to learn `mean` and `scale` from, got none; pass both.")
        mean = float(np.average(numbers, weights=weights))
        # Equality is tested on the numbers: rounding may give equal numbers a deviation above 0.
        spread = math.sqrt(np.average((numbers - mean) ** 2, weights=weights)) if np.ptp(numbers) > 0 else 1.0
        self.mean = mean if self.mean is None else self.mean
        self.scale = spread if self.scale is None else self.scale

    def _known(self) -> tuple[float, float]:
        if self.mean is None or self.scale is None:
            raise ValueError(f"Head '{self.name}' does not know its labels' mean and scale yet: pass `mean` and `scale` (0.0 and "
                             "1.0 to take labels as they are), or give its task a source with a training split.")  # fmt: skip
        return self.mean, self.scale

    def _number(self, value: Any) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"Regression takes a number, got {brief(value)}.") from None
        if not abs(number) <= LARGEST:
            raise ValueError(f"Regression takes finite numbers, got {brief(value)}; leave the label empty where it is missing.")
        if self.range is not None and not self.range[0] <= number <= self.range[1]:
            raise ValueError(f"The label {number} is outside `range` {self.range}.")
        return number

    @property
    def target(self) -> Target:
        return Target((), "float32")

    def encode(self, value: Any, example: Example, encoding: Encoding) -> tuple[float, float]:
        return self._number(value), 1.0

    def absent(self, value: Any) -> bool:
        if self.missing is None:
            return False
        try:
            return float(value) == self.missing
        except (TypeError, ValueError):
            return False

    def decode(self, prediction: Any, example: Example, encoding: Encoding) -> dict[str, float]:
        return {"value": float(prediction)}

    def report(self, gold: Sequence[Any], predicted: Sequence[Any], examples: Sequence[Example]) -> dict[str, float]:
        """Return the mean absolute error, the mean squared error and its root, and Pearson's and Spearman's correlation.

        Spearman's is Pearson's correlation of the ranks. The correlations are 0 where `gold` or `predicted` is constant. Rows are
        weighted by their examples.

        Args:
            gold: labels.
            predicted: the results of `decode`.
            examples: the examples; empty for weights of 1.
        """
        rows, weights, _ = self._judged(gold, predicted, examples)
        if not rows:
            return {}
        truth = np.array([self._number(value) for value, _ in rows])
        guess = np.array([found["value"] for _, found in rows])
        mse = float(np.average((guess - truth) ** 2, weights=weights))
        return {
            "mae": float(np.average(np.abs(guess - truth), weights=weights)),
            "mse": mse,
            "rmse": math.sqrt(mse),
            "pearson": _correlation(truth, guess, weights),
            "spearman": _correlation(_ranks(truth, weights), _ranks(guess, weights), weights),
        }

    def build(self, features_shape: Mapping[str, tuple]) -> None:
        self._known()
        if self.features not in features_shape:
            raise unknown_name("features", self.features, features_shape)
        self.readout = Readout(1, self.hidden, self.dropout, dtype=self.dtype_policy, name="readout")
        self.readout.build(features_shape[self.features])

    def call(self, features: Mapping[str, Any], training: bool | None = None) -> Any:
        return ops.squeeze(self.readout(features[self.features], training=training), -1)

    def compute_output_shape(self, features_shape: Mapping[str, tuple]) -> tuple:
        return (features_shape[self.features][0],)

    def compute_output_spec(self, features: Mapping[str, Any], training: bool | None = None) -> keras.KerasTensor:
        return keras.KerasTensor((features[self.features].shape[0],), "float32")

    def activate(self, outputs: Any, features: Mapping[str, Any]) -> Any:
        mean, scale = self._known()
        values = ops.cast(outputs, "float32") * scale + mean
        return values if self.range is None else ops.clip(values, *self.range)

    def serve(self, prediction: Any, tokens: Mapping[str, Any]) -> dict[str, Any]:
        """Return the predicted `value [B]`."""
        return {"value": prediction}

    def loss(self, target: Any, outputs: Any, weight: Any, features: Mapping[str, Any]) -> tuple[Any, Any]:
        mean, scale = self._known()
        target = ops.reshape(ops.cast(labelled(weight, target), "float32"), (-1,))
        rows = LOSSES[self.loss_name]((target - mean) / scale, labelled(weight, outputs))
        weight = ops.cast(weight, "float32")
        return ops.sum(rows * weight), ops.sum(weight)

    def make_metrics(self) -> dict[str, Any]:
        mean, scale = self._known()
        return {"scores": RegressionScores(mean, scale, self.range)}

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "loss": self.loss_name,
            "mean": self.mean,
            "scale": self.scale,
            "range": self.range,
            "dropout": self.dropout,
            "hidden": self.hidden,
            "features": self.features,
        }


def _correlation(one: np.ndarray, other: np.ndarray, weights: np.ndarray) -> float:
    """Return Pearson's correlation of weighted rows, in float64; 0 where either array is constant."""
    if not (np.ptp(one) > 0 and np.ptp(other) > 0):
        return 0.0
    one, other = (values - np.average(values, weights=weights) for values in (one, other))
    spread = math.sqrt(float(np.sum(weights * one**2))) * math.sqrt(float(np.sum(weights * other**2)))
    return min(1.0, max(-1.0, float(np.sum(weights * one * other)) / spread))


def _ranks(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return weighted ranks up to a constant: the total weight below each value plus half the weight of its ties."""
    _, inverse = np.unique(x, return_inverse=True)
    ties = np.bincount(inverse, weights)
    return (np.cumsum(ties) - ties / 2)[inverse]
